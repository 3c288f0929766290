"""The house's own rules, where a machine can check them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_tree_in_the_readme_matches_the_folders() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text.partition("## The tree")[2].split("```")[1]
    top = re.findall(r"^([\w.]+/?(?:\w+/)?)  ", block, flags=re.MULTILINE)
    inner = re.findall(r"^  ([\w.]+/?)  ", block, flags=re.MULTILINE)
    assert len(top) > 8
    assert len(inner) > 12
    assert [name for name in top if not (ROOT / name).exists()] == []
    assert [name for name in inner if not (ROOT / "src" / "stillhouse" / name).exists()] == []
    packages = {path.name + "/" for path in (ROOT / "src" / "stillhouse").iterdir() if (path / "__init__.py").is_file()}
    assert packages <= set(inner)


def test_every_package_says_what_lives_there() -> None:
    packages = [path.parent for path in (ROOT / "src").rglob("__init__.py")]
    assert len(packages) > 10
    silent = [
        str(path) for path in packages if not (path / "__init__.py").read_text(encoding="utf-8").startswith('"""')
    ]
    assert silent == []


def test_every_direct_dependency_is_pinned_and_has_a_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.partition("dependencies = [")[2].partition("[project.scripts]")[0]
    names = {re.split(r"[<>=\[]", item)[0] for item in re.findall(r'"([^"]+)"', section)} - {"stillhouse"}
    pins = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    reasons = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert len(names) > 15
    assert sorted(name for name in names if name.lower() not in pins) == []
    assert sorted(name for name in names if name not in reasons) == []


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"]])
def test_the_command_answers_without_loading_anything_heavy(arguments: list[str]) -> None:
    program = (
        f"import sys; sys.argv = ['stillhouse', *{arguments!r}]\n"
        "from stillhouse.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "heavy = [m for m in ('torch', 'transformers', 'mlflow', 'kfp', 'pyarrow', 'numpy') if m in sys.modules]\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_modules_and_functions_stay_small() -> None:
    import ast

    files = list((ROOT / "src").rglob("*.py"))
    assert len(files) > 50
    assert [str(path) for path in files if len(path.read_text(encoding="utf-8").splitlines()) > 400] == []
    spans = [
        (node.end_lineno - node.lineno + 1, f"{path.name}:{node.name}")
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno
    ]
    assert [name for lines, name in spans if lines > 80] == []
    assert sorted(lines for lines, _ in spans)[int(len(spans) * 0.9)] <= 45
