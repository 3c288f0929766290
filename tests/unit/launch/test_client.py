"""Every way in which a server can fail to answer, as one line and the right family of error."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.errors import RecipeError, StillhouseError, TransientError
from stillhouse.launch.answers import Exists, NotFound, NotSent, Throttled, Unable
from stillhouse.launch.client import Kfp
from tests.kfp_server import KfpServer

Connect = Callable[..., Kfp]


def ask(kfp: Kfp) -> object:
    return list(kfp.find_runs())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"namespace": "other"}, "namespace other is unknown or not yours"),
        ({"namespace": "nowhere"}, "namespace nowhere is unknown or not yours"),
        ({"namespace": ""}, "has several users; set --namespace"),
        ({"token_file": ""}, "no token was sent; name a file with one in --token-file"),
        ({"ca_file": ""}, "its certificate is not trusted; name the authority's file in --ca-file"),
    ],
)
def test_wrong_settings_are_the_users_to_correct(connect: Connect, changes: dict[str, str], words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        ask(connect(**changes))
    assert "\n" not in str(caught.value)


def test_an_expired_token_is_told_and_a_renewed_one_is_read_again(
    kfp: Kfp, token_file: Path, server: KfpServer
) -> None:
    ask(kfp)
    server.namespaces["distil"] = {"next"}
    with pytest.raises(RecipeError, match=f"the token in {token_file} is expired"):
        ask(kfp)
    token_file.write_text("next\n", encoding="utf-8")
    assert ask(kfp) == []


def test_an_endpoint_that_is_not_the_api_is_told(connect: Connect, server: KfpServer) -> None:
    with pytest.raises(RecipeError, match="is no Kubeflow Pipelines API; is the path right"):
        ask(connect(url=f"{server.url}/pipeline"))


def test_a_server_that_is_down_is_a_transient_error_without_a_traceback(connect: Connect) -> None:
    with pytest.raises(NotSent, match=r"http://127.0.0.1:1: Kubeflow Pipelines does not answer"):
        ask(connect(url="http://127.0.0.1:1"))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_reading_is_repeated_while_the_server_is_busy(kfp: Kfp, server: KfpServer, status: int) -> None:
    server.fail_next("list_runs", status, times=3)
    assert ask(kfp) == []
    assert server.count("list_runs") == 4


@pytest.mark.parametrize(("status", "family"), [(429, NotSent), (500, Unable), (503, Throttled), (404, NotFound)])
def test_a_server_that_stays_busy_is_told_in_its_own_words(
    kfp: Kfp, server: KfpServer, status: int, family: type[StillhouseError]
) -> None:
    server.fail_next("list_runs", status, times=9, message="the database is away")
    with pytest.raises(family, match="the database is away"):
        ask(kfp)


def test_retry_after_is_obeyed(kfp: Kfp, server: KfpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    server.fail_next("list_runs", 429, retry_after="7")
    ask(kfp)
    assert slept == [7.0]


@pytest.mark.parametrize("fault", ["drop_request_of", "drop_answer_of", "never_answer"])
def test_a_lost_answer_is_asked_for_again(connect: Connect, server: KfpServer, fault: str) -> None:
    getattr(server, fault)("list_runs")
    assert ask(connect(timeout_s=0.4)) == []


def test_an_answer_that_never_comes_ends_in_time(connect: Connect, server: KfpServer) -> None:
    server.never_answer("list_runs", times=9)
    with pytest.raises(TransientError, match="does not answer"):
        ask(connect(timeout_s=0.2, tries=2))


def test_an_answer_that_comes_twice_is_read_once(kfp: Kfp, server: KfpServer) -> None:
    server.answer_twice("list_runs", times=2)
    made = kfp.create_experiment("recipe", "")
    for _ in range(3):
        assert ask(kfp) == []
        found = kfp.find_experiment("recipe")
        assert found is not None
        assert found["experiment_id"] == made["experiment_id"]


def test_what_exists_already_is_its_own_error(kfp: Kfp) -> None:
    kfp.create_experiment("recipe", "")
    with pytest.raises(Exists):
        kfp.create_experiment("recipe", "")


def test_lists_are_read_to_their_end(kfp: Kfp, server: KfpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stillhouse.launch.client.PAGE", 2)
    pipeline = kfp.create_pipeline("p", "")
    with server.state.lock:
        for index in range(5):
            server.state.create_version(pipeline["pipeline_id"], f"v{index}", "", {})
    assert kfp.find_version(pipeline["pipeline_id"], "v4")
    rows = kfp._all(kfp._client.pipelines.pipeline_service_list_pipeline_versions, "pipeline_versions",
                    pipeline_id=pipeline["pipeline_id"])  # fmt: skip
    assert [row["name"] for row in rows] == [f"v{index}" for index in range(5)]


def test_connecting_prints_nothing_and_leaves_the_home_folder_alone(
    connect: Connect, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        connect(namespace="").healthz()
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "home").exists()
