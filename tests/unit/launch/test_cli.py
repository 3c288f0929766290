"""The verbs of the command line against the local server: what they print, and how they exit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from stillhouse.cli.app import main
from stillhouse.launch.endpoint import CA_ENV, ENDPOINT_ENV, NAMESPACE_ENV, TOKEN_ENV
from tests.kfp_server import KfpServer
from tests.unit.launch.conftest import QUICKSTART, ROOT

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(
    server: KfpServer, token_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """``cli("submit", …)``: exit code, stdout, stderr of a command whose environment names the local server."""
    settings = {ENDPOINT_ENV: server.url, NAMESPACE_ENV: "distil", TOKEN_ENV: str(token_file), CA_ENV: server.ca_file}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stillhouse", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0), *capsys.readouterr()

    return run


def test_submit_prints_one_json_object_and_the_same_label_starts_nothing(cli: Cli, server: KfpServer) -> None:
    code, out, err = cli("submit", QUICKSTART, "--run-label", "a", "-o", "json")
    told = json.loads(out)
    assert (code, set(told)) == (
        0,
        {"run_id", "run_name", "run_label", "url", "created", "recipe_sha256", "pipeline_version", "experiment_id"},
    )
    assert "quickstart-a  started" in err
    _, out, err = cli("submit", QUICKSTART, "--run-label", "a", "-o", "json")
    assert json.loads(out) == {**told, "created": False}
    assert "was there already" in err
    assert len(server.runs) == 1


def test_another_recipe_under_a_used_label_is_told(cli: Cli, server: KfpServer) -> None:
    _, out, _ = cli("submit", QUICKSTART, "--run-label", "a", "-o", "json")
    code, again, err = cli("submit", QUICKSTART, "--run-label", "a", "-o", "json", "--set", "seed=18")
    assert code == 0
    assert json.loads(again)["recipe_sha256"] == json.loads(out)["recipe_sha256"]
    assert "that run is of another recipe" in err


def test_stdout_of_a_real_process_holds_nothing_but_json(server: KfpServer, token_file: Path) -> None:
    env = {**os.environ, ENDPOINT_ENV: server.url, TOKEN_ENV: str(token_file), CA_ENV: server.ca_file}
    line = [sys.executable, "-m", "stillhouse", "submit", str(QUICKSTART), "-n", "distil", "-o", "json"]
    done = subprocess.run(line, capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run_id"] == server.runs[0]["run_id"]
    assert "Warning" not in done.stderr


@pytest.mark.parametrize(("state", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELED", 1)])
def test_wait_follows_the_run_and_exits_by_its_outcome(cli: Cli, server: KfpServer, state: str, code: int) -> None:
    def end() -> None:
        while not server.runs:
            server.ending.wait(0.02)
        run_id = server.runs[0]["run_id"]
        server.set_task(run_id, "train-student", "SUCCEEDED")
        server.finish(run_id, state, error="" if code == 0 else "train-student: why")

    other = threading.Thread(target=end)
    other.start()
    exited, _, err = cli("submit", QUICKSTART, "--wait", "--poll", "0.05")
    other.join()
    assert exited == code
    assert state.lower() in err
    assert ("train-student: why" in err) == bool(code)


def test_ctrl_c_leaves_the_run_alone_and_says_how_to_go_on(
    cli: Cli, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stillhouse.launch.follow.follow", interrupted)
    code, _, err = cli("submit", QUICKSTART, "--wait")
    assert code == 130
    assert f"the run goes on. stillhouse status {server.runs[0]['run_id']}" in err
    assert server.runs[0]["state"] == "PENDING"


def test_dry_run_prints_the_placed_pipeline_and_asks_no_server(cli: Cli, server: KfpServer) -> None:
    code, out, _ = cli("submit", QUICKSTART, "--dry-run")
    assert code == 0
    pipeline, platform = yaml.safe_load_all(out)
    assert pipeline["pipelineInfo"]["name"] == "distillation"
    assert set(platform["platforms"]) == {"kubernetes"}
    assert server.requests == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run-label", "a" * 64], "has 64 characters; 63 at most"),
        (["--endpoint", "kfp.example"], "must start with https:// or http://"),
        (["--ca-file", "/no/ca.crt"], "/no/ca.crt: no such file"),
        (["--token-file", "/no/token"], "/no/token: no such token file"),
        (["-n", "elsewhere"], "namespace elsewhere is unknown or not yours"),
        (["--set", "train.steps=many"], "train.steps = 'many'"),
        (["--set", "cluster.defaults.memory=lots"], "cluster.defaults.memory = 'lots': must match"),
        (["--set", "cluster.secrets.s3=S3_Secret"], "cluster.secrets.s3 = 'S3_Secret': must match"),
        (["--set", "cluster.images.registry=https://r"], "cluster.images.registry = 'https://r': must match"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_2(cli: Cli, server: KfpServer, arguments: list[str], words: str) -> None:
    code, out, err = cli("submit", QUICKSTART, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert all(line.startswith("error: ") for line in err.splitlines())
    assert server.runs == []


def test_problems_on_this_machine_are_exit_2_and_upload_nothing(cli: Cli, server: KfpServer, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = (json.dumps({"prompt": f"1+{number}", "answer": str(1 + number)}) for number in range(99))
    path.write_text("\n".join(rows), encoding="utf-8")
    code, _, err = cli("submit", QUICKSTART, "--set", f"data.problems={path}", "--set", "data.probe=8")
    assert code == 2
    assert f"data.problems.path = '{path}': is on this machine, and pods cannot read it" in err
    assert server.requests == []


def test_an_expired_token_is_exit_2(cli: Cli, server: KfpServer) -> None:
    server.namespaces["distil"] = set()
    code, _, err = cli("submit", QUICKSTART)
    assert code == 2
    assert "is expired or for another audience" in err


def test_a_server_that_is_down_is_exit_75(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    code, out, err = cli("submit", QUICKSTART, "--endpoint", "http://127.0.0.1:1")
    assert (code, out) == (75, "")
    assert err.startswith("error: http://127.0.0.1:1: Kubeflow Pipelines does not answer")


def test_the_option_goes_before_the_recipe_and_the_recipe_before_the_environment(
    cli: Cli, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.namespaces |= {"recipes": {"token"}, "options": {"token"}}
    told = ("--set", "cluster.namespace=recipes")
    assert cli("submit", QUICKSTART, "--run-label", "a", *told)[0] == 0
    assert cli("submit", QUICKSTART, "--run-label", "b", *told, "-n", "options")[0] == 0
    assert [item["namespace"] for item in server.state.experiments.values()] == ["recipes", "options"]


def test_what_follows_a_submission(cli: Cli, server: KfpServer) -> None:
    cli("submit", QUICKSTART, "--run-label", "a")
    run_id = server.runs[0]["run_id"]
    server.set_task(run_id, "train-student", "FAILED", pod="wf-1", log="out of \x1b[31mmemory", error="exit 1")
    server.finish(run_id, "FAILED", error="train-student failed")
    told = json.loads(cli("status", "a", "-o", "json")[1])
    assert (told["state"], told["error"]) == ("FAILED", "train-student failed")
    assert [(row["stage"], row["state"]) for row in told["stages"]] == [("train_student", "FAILED")]
    assert "train_student" in cli("status", run_id)[1]
    assert json.loads(cli("list", "--recipe", "quickstart", "-o", "json")[1])[0]["run_id"] == run_id
    assert "quickstart-a" in cli("list")[1]
    assert cli("logs", "a", "--stage", "train-student")[1] == "out of ?[31mmemory\n"
    assert "goes on: quickstart-a" in cli("resume", "a")[2]
    assert server.run(run_id)["state"] == "RUNNING"
    assert "is being terminated" in cli("cancel", "a")[2]
    assert server.run(run_id)["state"] == "CANCELING"


@pytest.mark.parametrize("verb", ["status", "logs", "cancel", "resume"])
def test_a_run_that_is_not_there_is_exit_2(cli: Cli, verb: str) -> None:
    code, _, err = cli(verb, "nothing")
    assert code == 2
    assert err.startswith("error: run nothing: there is none of that id, name or label")


def test_list_of_a_recipe_that_never_ran(cli: Cli) -> None:
    code, _, err = cli("list", "--recipe", "nothing")
    assert code == 2
    assert "no run of it has ever been submitted" in err


def test_digest_says_what_a_run_would_depend_on(cli: Cli, server: KfpServer) -> None:
    code, out, _ = cli("digest", QUICKSTART, "-o", "json")
    told = json.loads(out)
    assert code == 0
    assert set(told) == {"recipe_sha256", "data", "models", "teachers", "registered_name", "custom_imports"}
    assert set(told["teachers"]) == {"terse", "wordy", "careless"}
    assert told["models"]["student"]
    assert all(told["data"].values())
    assert cli("digest", QUICKSTART)[1].strip() == told["recipe_sha256"]
    changed = json.loads(cli("digest", QUICKSTART, "-o", "json", "--set", "data.problems.seed=99")[1])
    assert changed["data"] != told["data"]
    assert changed["recipe_sha256"] != told["recipe_sha256"]
    assert server.requests == []


@pytest.mark.parametrize("verb", ["submit", "status", "digest", "list"])
def test_help_loads_no_kfp(verb: str) -> None:
    program = (
        f"import sys; sys.argv = ['stillhouse', {verb!r}, '--help']\n"
        "from stillhouse.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "assert not {'kfp', 'kubernetes', 'yaml', 'httpx'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
