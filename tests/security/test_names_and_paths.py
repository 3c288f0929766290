"""Names and addresses out of recipes stay names: no way out of the workspace, no crash, no key sent elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillhouse.data import load_problems
from stillhouse.errors import RecipeError, TransientError
from stillhouse.prompting import cot
from stillhouse.recipe.check import check_recipe
from stillhouse.recipe.data import FileProblems
from stillhouse.recipe.document import parse_yaml
from stillhouse.recipe.load import load_recipe
from stillhouse.recipe.models import describe
from stillhouse.recipe.teacher import ModelRef
from stillhouse.recipe.traces import CotPrompter
from stillhouse.records import Problem
from stillhouse.storage import S3Settings, fetch, put
from stillhouse.workspace import Workspace

NOBODY = S3Settings(endpoint="http://127.0.0.1:1", access_key="a", secret_key="b", retries=0, timeout_s=1)
RECIPE = """\
name: small
data: {problems: {type: zoo, families: {chain: 300}}, probe: 64}
teacher: {candidates: [{type: openai, name: far, model: big, endpoints: ["http://localhost:1/v1"]}]}
student: {model: "zoo:base"}
evaluate: {benchmarks: [{name: chain, problems: {type: zoo, split: eval, families: {chain: 64}}}]}
gate: {require: [{metric: chain}]}
register: {name: small-student}
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Any]:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return lambda *changes: load_recipe(path, changes, {})


TRAVERSALS = [
    "../other",
    "../../etc/cron.d/x",
    "..",
    ".",
    "",
    "/etc/passwd",
    "a/b",
    "a/../../b",
    "a\0b",
    "a\nb",
    "a\x1b[2Jb",
]


@pytest.mark.parametrize("name", [*TRAVERSALS, "x" * 300, "가" * 100], ids=repr)
def test_a_runs_name_is_one_folder_below_runs_or_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match="run name"):
        Workspace.open(tmp_path).run(name)


@pytest.mark.parametrize(
    "name", ["quickstart-20261124-0345", "My run (2)", "..hidden", "a..b", "실행 1", "~", "$(id)", "%2e%2e"]
)
def test_other_names_are_folders_of_their_own(tmp_path: Path, name: str) -> None:
    space = Workspace.open(tmp_path)
    folder = space.run(name)
    folder.mkdir(parents=True)
    assert folder.resolve().parent == space.root / "runs"


def test_the_command_refuses_a_name_that_leads_out(tmp_path: Path) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE.replace("type: openai, name: far, model: big, endpoints: [\"http://localhost:1/v1\"]",
                                     "type: transformers, name: near, model: 'zoo:terse'"))  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "stillhouse",
        "run",
        str(recipe),
        "--workspace",
        str(tmp_path / "w"),
        "--name",
        "../../x",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "error: run name '../../x'" in done.stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("field", ["name", "register.name", "evaluate.benchmarks.0.name"])
@pytest.mark.parametrize("value", ["../x", "/x", "a'b", 'a"b', "a` or 1", "a\nb", "a/b", "a@b", "", "a b"], ids=repr)
def test_names_that_become_experiments_models_and_metrics_have_no_quotes_or_slashes(
    make: Callable[..., Any], field: str, value: str
) -> None:
    with pytest.raises(RecipeError, match=field.replace(".", r"\.")):
        make(f"{field}={json.dumps(value)}")


@pytest.mark.parametrize("uri", [
    "zoo:../../", "zoo:", "zoo:*", "zoo:../weights/base", "zoo:base/../base", "zoo:/etc", "hf://../", "hf://../../etc",
    "hf://a/b/../../c", "hf://", "hf:///etc/passwd", "hf://a\0/b", "s3://bucket/model", "http://host/model", "file:///etc",
    "/etc", "/proc/self", "/dev/null", "a\0b", "x" * 5000, "~nosuchuser/m", "/root/" + "y" * 300,
], ids=lambda uri: uri[:24].encode("ascii", "replace").decode())  # fmt: skip
def test_a_models_address_leads_to_a_model_or_to_one_line(uri: str) -> None:
    with pytest.raises(RecipeError) as caught:
        describe(ModelRef(model=uri))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", [
    "/etc/passwd", "file:///etc/passwd", "/proc/self/environ", "/dev/zero", "/dev/stdin", "file://%00", "file://a\0",
    "a\0b.jsonl", "x" * 5000 + ".jsonl", "~nosuchuser/x.jsonl", "/proc/self/environ.jsonl", "gopher://x/y.jsonl",
    "http://169.254.169.254/latest.jsonl", "ftp://x/y", "s3://", "s3://b", "s3://bucket/", "s3:///key", "s3://B@D/key",
    "s3://-/key", "s3://" + "b" * 100 + "/key", "s3://bucket/a/..", "s3://bucket/../../etc/passwd", "s3://bucket/./a",
    "s3://bucket/" + "k" * 1100,
], ids=lambda uri: uri[:30].encode("ascii", "replace").decode())  # fmt: skip
def test_a_problem_files_address_leads_to_problems_or_to_one_line(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of the machine are no problems by their names alone: nothing of what they hold is said."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "hush"),
        ("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:1"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "cache"))
    started = time.monotonic()
    with pytest.raises((RecipeError, TransientError)) as caught:
        load_problems(FileProblems(path=uri))
    assert "root:" not in str(caught.value)
    assert "hush" not in str(caught.value)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("name", ["token.jsonl", "token.csv", "token.jsonl.gz", "token.parquet"])
def test_a_file_that_is_no_problems_is_refused_without_a_word_of_its_content(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("eyJhbGciOiJSUzI1NiIsImtpZCI6InNlY3JldCJ9.token\neyJhbGci.second\n")
    with pytest.raises(RecipeError) as caught:
        load_problems(FileProblems(path=str(tmp_path / name)))
    if name != "token.csv":  # the first line of a CSV file is its columns' names, which are told
        assert "eyJ" not in str(caught.value)
    assert "second" not in str(caught.value)


def test_an_objects_key_never_names_a_place_outside_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a real S3 server: what is stored under awkward keys lands below the cache, under a name that fits."""
    from moto.server import ThreadedMotoServer

    for name, value in (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        settings = S3Settings(endpoint=f"http://{host}:{port}", access_key="a", secret_key="b", retries=0)
        from minio import Minio

        Minio(f"{host}:{port}", access_key="a", secret_key="b", secure=False, region="us-east-1").make_bucket("bucket")
        source = tmp_path / "one.jsonl"
        source.write_text('{"prompt": "1+1", "answer": "2"}\n')
        for key in (
            "plain.jsonl",
            "…/..%2f..%2fetc.jsonl",
            "a" * 900 + ".jsonl",
            "$(id).jsonl",
            "a b'c\".jsonl",
            "~root.jsonl",
            ".jsonl",
        ):
            put(source, f"s3://bucket/{key}", settings)
            found = fetch(f"s3://bucket/{key}", tmp_path / "cache", settings)
            assert found.resolve().is_relative_to((tmp_path / "cache" / "s3").resolve())
            assert found.suffix == ".jsonl" or found.name == ".jsonl"
            assert found.read_text() == source.read_text()
    finally:
        server.stop()


@pytest.mark.parametrize("name", [
    "AWS_SECRET_ACCESS_KEY", "aws_secret_access_key", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "KF_PIPELINES_SA_TOKEN_PATH", "KUBECONFIG", "KUBERNETES_PORT",
    "STILLHOUSE_CUSTOM_IMPORTS", "PYTHONPATH", "LD_PRELOAD", "PATH", "HOME", "GITHUB_TOKEN", "PGPASSWORD",
    "DATABASE_URL", "", "A B", "A=B", "${X}", "X\n",
], ids=repr)  # fmt: skip
def test_a_recipe_cannot_send_anothers_secret_to_its_own_server(make: Callable[..., Any], name: str) -> None:
    with pytest.raises(RecipeError, match=r"teacher\.candidates\.0\.api_key_env"):
        check_recipe(make(f"teacher.candidates.0.api_key_env={json.dumps(name)}"))


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "TEACHER_API_KEY", "VLLM_KEY", "api_token", "HFX_KEY", "DEEPSEEK_API_KEY"]
)
def test_a_teachers_own_variable_is_fine(make: Callable[..., Any], name: str) -> None:
    check_recipe(make(f"teacher.candidates.0.api_key_env={name}"))


@pytest.mark.parametrize("endpoint", ["http://me:hush@host/v1", "https://hush@host/v1", "https://host/v1?api-key=hush"])
def test_a_key_in_an_address_is_refused_and_not_repeated(make: Callable[..., Any], endpoint: str) -> None:
    with pytest.raises(RecipeError, match=r"endpoints\.0: holds a user name") as caught:
        check_recipe(make(f"teacher.candidates.0.endpoints=['{endpoint}']"))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint", ["file:///etc/passwd", "gopher://x/v1", "unix:///run/x", "//host/v1", "host:8000/v1", ""]
)
def test_an_endpoint_is_http_or_nothing(endpoint: str) -> None:
    from stillhouse.recipe.teacher import OpenAITeacher as Config
    from stillhouse.teachers.openai_teacher import OpenAITeacher

    with pytest.raises(RecipeError, match="endpoint"):
        OpenAITeacher(Config(name="far", model="big", endpoints=(endpoint,)))


CONTENT = [
    "{0.__class__}",
    "{prompt.__init__.__globals__}",
    "{{7*7}}",
    "%(prompt)s",
    "${prompt}",
    "{% for x in y %}",
    "{prompt}",
    "\\1",
]


@pytest.mark.parametrize("content", CONTENT)
@pytest.mark.parametrize(
    "template", ["{prompt}", "Q: {prompt} {0.__class__} {{}} \\boxed{}", "{prompt.__class__} {prompt}"]
)
def test_a_prompt_goes_into_its_template_letter_by_letter(template: str, content: str) -> None:
    prompter = cot.CotPrompter(CotPrompter(template=template, system="{0.__class__}"))
    system, question = prompter.render(Problem(id="p", prompt=content, answer="1", source="s"))
    head, _, tail = template.partition("{prompt}")
    assert question["content"].startswith(head + content)
    assert question["content"].endswith(tail.replace("{prompt}", content))
    assert system["content"] == "{0.__class__}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("!!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("!!python/name:os.system", "could not determine a constructor"),
        ("a: &a [*a]", "contains itself"),
        ("[" * 20_000, "nested too deeply"),
        ("{a: " * 3_000 + "1" + "}" * 3_000, "nested too deeply"),
        ("a: \x00", "not valid YAML"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)),
            "stand for 12,345,679,011 values",
        ),
    ],
    ids=["apply", "name", "loop", "deep-list", "deep-map", "nul", "laughs"],
)
def test_a_recipe_is_data_and_small(text: str, words: str) -> None:
    started = time.monotonic()
    with pytest.raises(RecipeError, match=words):
        parse_yaml(text, "recipe.yaml")
    assert time.monotonic() - started < 10


def test_errors_on_the_terminal_cannot_steer_it(tmp_path: Path) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE.replace("type: zoo, families: {chain: 300}", 'type: file, path: "no\\e[2Jsuch.jsonl"'))
    done = subprocess.run(
        [sys.executable, "-m", "stillhouse", "run", str(recipe), "--dry-run"], capture_output=True, env={**os.environ}
    )
    assert done.returncode == 2
    assert b"such.jsonl" in done.stderr
    assert b"\x1b" not in done.stderr
