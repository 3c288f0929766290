"""Error family -> exit code, the same everywhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stillhouse.errors import BudgetExhausted, RecipeError, StillhouseError, TransientError

TABLE = {RecipeError: 2, TransientError: 75, BudgetExhausted: 0}


@pytest.mark.parametrize(("family", "code"), TABLE.items(), ids=lambda item: getattr(item, "__name__", str(item)))
def test_the_family_decides_the_exit_code(family: type[StillhouseError], code: int) -> None:
    assert family.exit_code == code


@pytest.mark.parametrize(("family", "code"), TABLE.items(), ids=lambda item: getattr(item, "__name__", str(item)))
def test_the_command_and_the_component_exit_with_it(family: type[StillhouseError], code: int) -> None:
    raising = f"from stillhouse.errors import {family.__name__} as E\ndef stop(*a, **k): raise E('why\\nand what')\n"
    command = raising + "import stillhouse.cli.app as a\na.app = stop\na.main()"
    component = raising + (
        "import stillhouse.entry as e\ne.stage_function = lambda name: stop\n"
        "artifact = type('Artifact', (), {'path': '/x'})\n"
        "e.run_component('filter_traces', {}, output=artifact, metrics=None, report=None, workspace='w')"
    )
    for program in (command, component):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.returncode == code
        assert "why" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_bug_keeps_its_traceback() -> None:
    program = "import stillhouse.cli.app as a\ndef stop(): raise ZeroDivisionError\na.app = stop\na.main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_the_tree_has_no_families_that_the_table_forgets() -> None:
    assert set(StillhouseError.__subclasses__()) >= set(TABLE)
