"""What stillhouse stands on: every package has an allowed licence, and known holes are found where data is at hand."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def script(name: str) -> ModuleType:
    """A script of ``scripts/`` as a module."""
    loader = SourceFileLoader(f"scripts_{name}", str(ROOT / "scripts" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes
    return module


LICENCES, AUDIT = script("licences"), script("audit")


def test_every_package_that_runs_has_an_allowed_licence() -> None:
    listed = LICENCES.rows()
    assert len(listed) > 100
    assert {"torch", "mlflow", "kopf", "kfp", "pydantic"} <= set(listed)
    assert {name: text for name, (text, _) in listed.items() if LICENCES.judged(text) == "refused"} == {}


def test_the_list_of_licences_is_up_to_date() -> None:
    assert LICENCES.TARGET.read_text(encoding="utf-8") == LICENCES.page(LICENCES.rows()), "run scripts/licences"


def test_every_direct_dependency_stands_in_the_list_and_tools_of_developers_do_not() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    told = LICENCES.TARGET.read_text(encoding="utf-8")
    extras = set(project["optional-dependencies"])
    assert extras - {"dev", "laptop"} == set(LICENCES.EXTRAS), "an extra that scripts/licences does not know"
    names = {item.name for extra in ("", *LICENCES.EXTRAS) for item in LICENCES.direct(project, extra)}
    assert len(names) > 15
    assert [name for name in sorted(names) if f"| {LICENCES.normal(name)} |" not in told] == []
    assert "| pytest |" not in told


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        ("MIT", "allowed"),
        ("Apache-2.0 AND MIT", "allowed"),
        ("Apache-2.0 WITH LLVM-exception", "allowed"),
        ("MPL-2.0", "weak copyleft"),
        ("MPL-2.0 AND MIT", "weak copyleft"),
        ("LGPL-3.0-or-later", "weak copyleft"),
        ("GPL-3.0-only", "refused"),
        ("GPL-3.0-only OR MIT", "allowed"),
        ("MIT AND GPL-3.0-only", "refused"),
        ("AGPL-3.0-only AND MIT OR MPL-2.0", "weak copyleft"),
        ("MIT AND (GPL-2.0-only OR MIT)", "refused"),
        ("unknown", "refused"),
        ("", "refused"),
    ],
)
def test_a_licence_is_judged_by_its_parts_and_alternatives(expression: str, verdict: str) -> None:
    assert LICENCES.judged(expression) == verdict


RECORD: dict[str, Any] = {
    "id": "PYSEC-2030-1",
    "schema_version": "1.6.0",
    "summary": "Somebody else reads your mail",
    "published": "2030-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "my-package"},
            "versions": ["1.2.post1"],
            "ranges": [
                {
                    "type": "ECOSYSTEM",
                    "events": [
                        {"introduced": "0"},
                        {"fixed": "1.10"},
                        {"introduced": "2.0"},
                        {"last_affected": "2.5"},
                    ],
                }
            ],
        }
    ],
}


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.1", True), ("1.9", True), ("1.10", False), ("1.11", False), ("1.2.post1", True), ("2.0rc1", False),
        ("2.0", True), ("2.5", True), ("2.5.1", False),
    ],
)  # fmt: skip
def test_a_version_is_held_against_a_records_ranges(version: str, expected: bool) -> None:
    assert AUDIT.affects(RECORD, "my-package", version) is expected
    assert not AUDIT.affects(RECORD, "another", version)


def test_a_dump_is_read_by_canonical_names(tmp_path: Path) -> None:
    record = json.loads(json.dumps(RECORD).replace("my-package", "My_Package"))
    (tmp_path / "a.json").write_text(json.dumps(record))
    assert AUDIT.read_dump(tmp_path) == {"my-package": [record]}
    assert AUDIT.affects(record, "my-package", "1.9")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "audit"), *map(str, arguments)], capture_output=True, text=True, env=env
    )


needs_pip_audit = pytest.mark.skipif(
    importlib.util.find_spec("pip_audit") is None and not os.environ.get("CI"), reason="pip-audit is not installed"
)


@needs_pip_audit
@pytest.mark.parametrize("packed", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["zip", "folder"])
def test_a_known_hole_is_found_in_an_offline_dump(tmp_path: Path, packed: bool) -> None:
    folder = tmp_path / "dump"
    folder.mkdir()
    (folder / "PYSEC-2030-1.json").write_text(json.dumps(RECORD))
    dump = folder
    if packed:
        dump = tmp_path / "all.zip"
        with zipfile.ZipFile(dump, "w") as archive:
            archive.write(folder / "PYSEC-2030-1.json", "PYSEC-2030-1.json")
    pins = tmp_path / "pins.txt"
    pins.write_text("my-package==1.9\nother==1.0\n")
    found = run("--data", dump, pins)
    assert (found.returncode, found.stderr) == (1, "audit: my-package 1.9: PYSEC-2030-1, fixed in 1.10\n")
    pins.write_text("my-package==1.10\nother==1.0\n")
    clean = run("--require", "--data", dump, pins)
    assert (clean.returncode, clean.stdout) == (0, "audit: 2 packages, no known vulnerabilities\n")


@needs_pip_audit
def test_without_data_nothing_is_called_clean(tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("my-package==1.9\n")
    nobody = ("--osv-url", "http://127.0.0.1:9/v1/query")
    told = run(*nobody, pins)
    assert (told.returncode, told.stdout) == (0, "")
    assert "no vulnerability data could be had" in told.stderr
    assert "no clean result" in told.stderr
    assert run("--require", *nobody, pins).returncode == 3


@pytest.mark.parametrize("content", [None, b"", b"not json", b"[]"])
def test_a_dump_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "dump.zip"
    if content is not None:
        path.write_bytes(content)
    done = run("--data", path)
    assert done.returncode == 1
    assert "is no OSV dump" in done.stderr
