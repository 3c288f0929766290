"""What no line of this project may do, read from its syntax: shells, text as code, code in data, blind trust."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "components", "pipelines", "operators", "scripts", "images")
FORBIDDEN_CALLS = {
    "os.system": "a shell",
    "os.popen": "a shell",
    "subprocess.getoutput": "a shell",
    "subprocess.getstatusoutput": "a shell",
    "asyncio.create_subprocess_shell": "a shell",
    "eval": "text as code",
    "exec": "text as code",
    "compile": "text as code",
    "__import__": "text as code",
    "builtins.eval": "text as code",
    "builtins.exec": "text as code",
    "pickle.load": "code in data",
    "pickle.loads": "code in data",
    "pickle.Unpickler": "code in data",
    "cloudpickle.load": "code in data",
    "cloudpickle.loads": "code in data",
    "dill.load": "code in data",
    "joblib.load": "code in data",
    "marshal.loads": "code in data",
    "shelve.open": "code in data",
    "yaml.unsafe_load": "code in data",
    "yaml.full_load": "code in data",
    "yaml.load_all": "code in data",
    "tempfile.mktemp": "a name that somebody else can take",
    "ssl._create_unverified_context": "no proof of identity",
    "shutil.unpack_archive": "paths out of an archive",
    "markupsafe.Markup.unescape": "markup out of text",
    "jinja2.Template": "a template without escaping",
    "jinja2.sandbox.SandboxedEnvironment": "a template out of content",
}
Rule = Callable[[ast.Call, str], str]


def python_files() -> list[Path]:
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    scripts = [path for path in sorted((ROOT / "scripts").rglob("*")) if path.is_file() and path.suffix != ".py"]
    return found + [
        path for path in scripts if path.read_bytes().startswith((b"#!/usr/bin/env python", b"#!/usr/bin/python"))
    ]


def offences(source: str) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) of everything in ``source`` that the rules forbid."""
    tree = ast.parse(source)
    names = _imported(tree)
    safe_loaders = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(_dotted(base, names) == "yaml.SafeLoader" for base in node.bases)
    } | {"yaml.SafeLoader", "yaml.CSafeLoader", *_other_names_of_safe_loaders(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = _dotted(node.func, names)
            for what in _wrong(node, called, safe_loaders, names):
                yield node.lineno, what


def _wrong(node: ast.Call, called: str, safe_loaders: set[str], names: dict[str, str]) -> Iterator[str]:
    words = {item.arg: item.value for item in node.keywords if item.arg}
    if called in FORBIDDEN_CALLS:
        yield f"{called}: {FORBIDDEN_CALLS[called]}"
    if _is(words.get("shell"), True):
        yield "shell=True: a shell"
    if _is(words.get("trust_remote_code"), True):
        yield "trust_remote_code=True: code that came with a model"
    if called.endswith(".from_pretrained") and not ({"trust_remote_code", None} & {item.arg for item in node.keywords}):
        yield f"{called}: say trust_remote_code=False, or transformers asks on the terminal"
    if _is(words.get("verify"), False) or _is(words.get("verify_ssl"), False) or _is(words.get("cert_check"), False):
        yield "TLS without verification"
    if called == "yaml.load" and _dotted(words.get("Loader") or ast.Name("none"), names) not in safe_loaders:
        yield "yaml.load without a SafeLoader"
    if called == "torch.load" and not _is(words.get("weights_only"), True):
        yield "torch.load without weights_only=True"
    if called == "numpy.load" and _is(words.get("allow_pickle"), True):
        yield "numpy.load with pickles"
    if called.endswith((".extractall", ".extract")) and "filter" not in words:
        yield f"{called}: an archive's own paths; say filter='data'"
    if called == "jinja2.Environment" and not _is(words.get("autoescape"), True):
        yield "jinja2.Environment without autoescape=True"
    if called.endswith(".from_string") and "jinja" in str(names.values()):
        yield "a template out of a string"
    queries = called.endswith((".execute", ".executemany", ".executescript")) or called == "sqlalchemy.text"
    if queries and node.args and _built(node.args[0]):
        yield f"{called}: SQL put together from parts; use parameters"
    if called in ("markupsafe.Markup", "Markup") and node.args and _built(node.args[0]) and not _escaped(node.args[0]):
        yield "Markup put together from parts that are not escaped"


def _other_names_of_safe_loaders(tree: ast.AST) -> Iterator[str]:
    """``L = yaml.SafeLoader`` and ``L = getattr(yaml, "CSafeLoader", yaml.SafeLoader)``."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            said = ast.unparse(node.value)
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if re.fullmatch(r"yaml\.C?SafeLoader|getattr\(yaml, 'C?SafeLoader', yaml\.SafeLoader\)", said):
                yield from (ast.unparse(target) for target in targets)


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _built(node: ast.expr) -> bool:
    """Whether a text is put together here: an f-string with values, ``+``, ``%``, ``.format()``."""
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, (ast.Add, ast.Mod))
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format"


def _escaped(node: ast.expr) -> bool:
    """Every value of an f-string is a call of ``escape``, a number's format, or a local that holds markup."""
    values = [part.value for part in getattr(node, "values", []) if isinstance(part, ast.FormattedValue)]
    return bool(values) and all(
        (isinstance(value, ast.Call) and ast.unparse(value.func) in ("escape", "_n")) or isinstance(value, ast.Name)
        for value in values
    )


def _imported(tree: ast.AST) -> dict[str, str]:
    """Local name -> full name."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                (item.asname or item.name.split(".")[0]): (item.name if item.asname else item.name.split(".")[0])
                for item in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            names |= {(item.asname or item.name): f"{node.module}.{item.name}" for item in node.names}
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return f"({type(node).__name__})"


def test_the_files_were_found() -> None:
    files = python_files()
    assert len(files) > 130
    assert {path.relative_to(ROOT).parts[0] for path in files} >= {"src", "components", "pipelines", "scripts"}


def test_no_line_breaks_the_rules() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in python_files()
        for line, what in offences(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "import os; os.system(x)",
        "from os import system as s; s(x)",
        "import subprocess as sp; sp.run(x, shell=True)",
        "from subprocess import Popen; Popen(x, shell=True)",
        "eval(x)",
        "exec(x)",
        "import pickle; pickle.load(f)",
        "from pickle import loads; loads(f)",
        "import yaml; yaml.load(x)",
        "import yaml; yaml.load(x, Loader=yaml.Loader)",
        "import yaml; yaml.load(x, Loader=yaml.FullLoader)",
        "import yaml; L = yaml.Loader; yaml.load(x, Loader=L)",
        "import yaml; L = getattr(yaml, 'CLoader', yaml.SafeLoader); yaml.load(x, Loader=L)",
        "import torch; torch.load(f)",
        "import torch; torch.load(f, weights_only=False)",
        "import numpy as np; np.load(f, allow_pickle=True)",
        "from transformers import AutoModel; AutoModel.from_pretrained(f)",
        "from transformers import AutoModel; AutoModel.from_pretrained(f, trust_remote_code=True)",
        "import jinja2; jinja2.Environment(loader=l)",
        "from jinja2 import Environment; Environment(autoescape=False)",
        "from jinja2 import Template; Template(x)",
        "import jinja2; jinja2.Environment(autoescape=True).from_string(x)",
        "import httpx; httpx.get(u, verify=False)",
        "import httpx; httpx.AsyncClient(verify=False)",
        "import tarfile; tarfile.open(f).extractall(p)",
        "import zipfile; zipfile.ZipFile(f).extractall(p)",
        "connection.execute(f'select {x}')",
        "connection.execute('select ' + x)",
        "connection.execute('select %s' % x)",
        "connection.execute('select {}'.format(x))",
        "from sqlalchemy import text; text(f'select {x}')",
        "from markupsafe import Markup; Markup(f'<b>{item.name}</b>')",
        "from markupsafe import Markup; Markup('<b>' + x)",
    ],
)  # fmt: skip
def test_each_rule_sees_what_it_forbids(line: str) -> None:
    assert list(offences(line))


@pytest.mark.parametrize(
    "line",
    [
        "import subprocess; subprocess.run([x, y], check=True)",
        "model.eval()",
        "re.compile(x)",
        "import yaml\nL = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)\nyaml.load(x, Loader=L)",
        "import yaml\nclass L(yaml.SafeLoader): pass\nyaml.load(x, Loader=L)",
        "import torch; torch.load(f, weights_only=True)",
        "from transformers import AutoModel; AutoModel.from_pretrained(f, **_SAFE)",
        "from jinja2 import Environment; Environment(autoescape=True)",
        "import httpx; httpx.get(u, verify=context)",
        "import tarfile; tarfile.open(f).extractall(p, filter='data')",
        "connection.execute('select ?', (x,))",
        "from markupsafe import Markup; Markup(f'<b>{escape(x)}</b>')",
        "from markupsafe import Markup; Markup('<b>{}</b>').format(x)",
    ],
)
def test_the_rules_leave_the_right_way_alone(line: str) -> None:
    assert list(offences(line)) == []


def test_templates_never_switch_escaping_off() -> None:
    templates = sorted((ROOT / "src").rglob("*.j2"))
    assert len(templates) > 8
    off = re.compile(r"\|\s*safe\b|autoescape\s+false|\bMarkup\b|{%-?\s*filter\s+forceescape")
    assert [path.name for path in templates if off.search(path.read_text(encoding="utf-8"))] == []
    # An attribute without quotes ends at the first space of a value, escaped or not.
    bare = re.compile(r"\w=\{\{")
    assert [path.name for path in templates if bare.search(path.read_text(encoding="utf-8"))] == []


def test_shell_scripts_quote_what_they_are_given() -> None:
    """``$name`` outside quotes is split and globbed; ``eval`` runs what it finds."""
    scripts = [path for path in sorted((ROOT / "scripts").rglob("*")) if path.is_file()]
    shell = [
        path for path in scripts if path.read_bytes().startswith((b"#!/bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash"))
    ]
    assert len(shell) >= 3
    for path in shell:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?m)^\s*eval\b|\bcurl\b.*\|\s*(?:ba)?sh\b", text), path.name
        assert re.search(r"(?m)^set -[a-z]*e[a-z]*u|^set -[a-z]*u[a-z]*e", text), f"{path.name} goes on after an error"
