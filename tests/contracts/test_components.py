"""What a component promises to KFP is what its stage's config and function take."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
import yaml

from stillhouse.entry import FUNCTIONS
from stillhouse.recipe.parameters import CONFIG_PARAMETER, DIALS
from stillhouse.recipe.stages import STAGES

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in (ROOT / "components").rglob("component.py"))
STAGE_OF = {"promote_student": "register_student"}


def _function(folder: Path) -> ast.FunctionDef:
    tree = ast.parse((folder / "component.py").read_text(encoding="utf-8"))
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return function


def _parameters(folder: Path) -> dict[str, str]:
    return {arg.arg: ast.unparse(arg.annotation) for arg in _function(folder).args.args if arg.annotation}


def test_there_is_a_component_for_every_stage_and_for_the_report() -> None:
    assert {folder.name for folder in FOLDERS} == {*FUNCTIONS, "report_run"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
class TestComponent:
    def test_imports_only_kfp_at_module_level(self, folder: Path) -> None:
        tree = ast.parse((folder / "component.py").read_text(encoding="utf-8"))
        modules = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert modules <= {"kfp", "components.images", "typing"}

    def test_body_is_one_import_and_one_call(self, folder: Path) -> None:
        body = [node for node in _function(folder).body if not isinstance(node, (ast.Expr, ast.Assign)) or _calls(node)]
        assert isinstance(body[0], ast.ImportFrom)
        assert body[0].module in {"stillhouse.entry", "stillhouse.runs", "stillhouse.launch.trainjob"}
        assert len(body) == 2
        assert (_function(folder).end_lineno or 0) - _function(folder).body[0].lineno <= 40

    def test_describes_every_parameter(self, folder: Path) -> None:
        doc = inspect.cleandoc(ast.get_docstring(_function(folder)) or "")
        missing = [name for name in _parameters(folder) if f"\n    {name}: " not in doc]
        assert not missing

    def test_has_metadata_and_a_readme(self, folder: Path) -> None:
        metadata = yaml.safe_load((folder / "metadata.yaml").read_text(encoding="utf-8"))
        assert metadata["name"] == folder.name
        assert metadata["stability"] in {"experimental", "alpha", "beta", "stable"}
        assert {"dependencies", "external_services", "tags", "lastVerified", "links"} <= set(metadata)
        assert folder.name in (folder / "README.md").read_text(encoding="utf-8")


def _calls(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_its_parameters_are_the_dials_and_the_config_of_its_stage(name: str) -> None:
    parameters = _parameters(ROOT / "components" / name)
    stage = STAGE_OF.get(name, name)
    fields = set(STAGES[stage].model_fields)
    dials = {parameter for field, parameter in DIALS.items() if field in fields}
    plain = {key for key, kind in parameters.items() if not kind.startswith("dsl.")}
    assert plain - {"trace_shard"} == dials | {CONFIG_PARAMETER[stage], "workspace"}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_outputs_carry_the_names_that_kfp_users_expect(name: str) -> None:
    outputs = {key for key, kind in _parameters(ROOT / "components" / name).items() if kind.startswith("dsl.Output")}
    assert {"output_metrics", "output_report"} < outputs
    assert all(key.startswith("output_") for key in outputs)
