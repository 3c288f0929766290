"""A local KFP server, and a connection to it that is quick to give up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stillhouse.launch.client import Kfp
from stillhouse.launch.endpoint import Endpoint
from stillhouse.launch.placement import Installation
from stillhouse.launch.submit import Submission, submit
from stillhouse.recipe import Recipe
from stillhouse.recipe.load import load_recipe
from stillhouse.recipe.resolve import resolve, stamp
from stillhouse.recipe.stages import StageConfig, stage_configs
from tests.kfp_server import KfpServer

ROOT = Path(__file__).parents[3]
QUICKSTART = ROOT / "recipes" / "quickstart.yaml"


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with KfpServer(namespaces={"distil": {"token"}, "other": {"secret"}}, tls=True) as running:
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("token\n", encoding="utf-8")
    return path


@pytest.fixture
def connect(server: KfpServer, token_file: Path) -> Callable[..., Kfp]:
    """``connect(namespace="other", timeout_s=0.5)``: a connection with these differences."""

    def make(*, timeout_s: float = 5.0, tries: int = 4, **changes: str) -> Kfp:
        settings = {"url": server.url, "namespace": "distil", "token_file": str(token_file), "ca_file": server.ca_file}
        return Kfp(Endpoint(**{**settings, **changes}), timeout_s=timeout_s, tries=tries, pause_s=0.01)

    return make


@pytest.fixture
def kfp(connect: Callable[..., Kfp]) -> Kfp:
    return connect()


@pytest.fixture(scope="session")
def resolved() -> tuple[Recipe, Mapping[str, StageConfig]]:
    """The quickstart's recipe, resolved, and its stage configs."""
    recipe = resolve(load_recipe(QUICKSTART, (), {}))
    return recipe, stamp(stage_configs(recipe))


@pytest.fixture
def start(resolved: tuple[Recipe, Mapping[str, StageConfig]]) -> Callable[..., Submission]:
    """``start(kfp, "label")``: submit the quickstart."""

    def call(kfp: Kfp, label: str = "one", **changes: Any) -> Submission:
        recipe, configs = resolved
        return submit(kfp, recipe.model_copy(update=changes), configs, label, Installation())[0]

    return call
