"""``stillhouse approve`` and ``stillhouse rollback``: what is asked for, against a Kubernetes API in process."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import kmock
import kopf
import pytest
import yaml

from operators.resources import APPROVE as OPERATORS_APPROVE
from operators.resources import PROMOTION
from operators.resources import ROLLBACK as OPERATORS_ROLLBACK
from stillhouse.cli.app import main
from stillhouse.errors import RecipeError
from stillhouse.launch.approvals import APPROVE, GROUP, PLURAL, ROLLBACK, VERSION, approval, find, rollback_target
from tests.operators.world import NAMESPACE, World, world

SHA = "9ab0" + "c" * 60


def _waiting(**status: Any) -> dict[str, Any]:
    usual = {
        "phase": "AwaitingApproval", "champion": "v7", "challenger": "v8", "previousChampion": "v6",
        "expectedChampion": "v7", "evidence": {"short": SHA[:12], "sha256": SHA},
    }  # fmt: skip
    return {key: value for key, value in {**usual, **status}.items() if value is not None}


def _promotion(name: str = "math", student: str = "math-student", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"student": student}, "status": _waiting(**status)}


def _said(kind: str, reason: str, status: str = "False") -> list[dict[str, str]]:
    return [{"type": kind, "status": status, "reason": reason, "message": f"because of {reason}"}]


@pytest.mark.parametrize("version", ["8", "v8"])
@pytest.mark.parametrize("evidence", [SHA, SHA[:8], f"sha256:{SHA[:12]}", f"{SHA[:9]}…", f"{SHA[:10]}...", SHA.upper()])
def test_an_approval_names_the_whole_hash_however_it_was_copied(version: str, evidence: str) -> None:
    assert approval(_promotion(), version, evidence) == f"8:{SHA}"


@pytest.mark.parametrize(
    ("promotion", "version", "evidence", "words"),
    [
        (_promotion(), "8", SHA[:7], "at least its first 8 digits"),
        (_promotion(), "8", "hello world", "at least its first 8 digits"),
        (_promotion(), "8", "", "at least its first 8 digits"),
        (_promotion(), "8", f"{SHA}0", "at least its first 8 digits"),
        (_promotion(), "8", "0" * 8, f"its evidence is {SHA}, not 00000000"),
        (_promotion(), "7", SHA, "v8 waits, evidence 9ab0cccccccc"),
        (_promotion(challenger=None), "8", SHA, "no version waits for approval; champion: v7"),
        (_promotion(conditions=_said("GatePassed", "EvidenceChanged")), "8", SHA, "because of EvidenceChanged"),
        (_promotion(conditions=_said("Approved", "Stale")), "8", SHA, "because of Stale"),
        (_promotion(conditions=_said("Approved", "Spent")), "8", SHA, "because of Spent"),
        (_promotion(phase="Conflict", conditions=_said("Conflict", "OlderExists", "True")), "8", SHA, "OlderExists"),
        ({**_promotion(), "spec": {"student": "math-student", "mode": "Automatic"}}, "8", SHA, "mode is Automatic"),
        ({"metadata": {"name": "math"}, "spec": {"student": "math-student"}}, "8", SHA, "no version waits"),
    ],
)
def test_an_approval_of_anything_else_is_refused_with_what_is_right(
    promotion: dict[str, Any], version: str, evidence: str, words: str
) -> None:
    with pytest.raises(RecipeError) as told:
        approval(promotion, version, evidence)
    assert words in str(told.value)


def test_a_refused_approval_may_be_corrected() -> None:
    for reason in ("Waiting", "OtherEvidence", "Malformed", "OtherVersion", "NoSuchVersion"):
        assert approval(_promotion(conditions=_said("Approved", reason)), "8", SHA) == f"8:{SHA}"


@pytest.mark.parametrize(
    ("promotion", "to", "target"),
    [
        (_promotion(), "", "6"),
        (_promotion(), "5", "5"),
        (_promotion(), "v5", "5"),
        (_promotion(), "none", "none"),
        (_promotion(previousChampion="none"), "", "none"),
        (_promotion(champion="v9"), "7", "7"),
    ],
)
def test_a_rollback_goes_to_the_previous_champion_or_where_it_is_told(
    promotion: dict[str, Any], to: str, target: str
) -> None:
    assert rollback_target(promotion, to) == target


@pytest.mark.parametrize(
    ("promotion", "to", "words"),
    [
        (_promotion(previousChampion=None), "", "name a version with --to"),
        (_promotion(), "latest", "not a version's number"),
        (_promotion(), "0", "not a version's number"),
        (_promotion(), "7", "v7 is champion already"),
        (_promotion(phase="Conflict", conditions=_said("Conflict", "OlderExists", "True")), "6", "OlderExists"),
    ],
)
def test_a_rollback_to_nowhere_is_refused(promotion: dict[str, Any], to: str, words: str) -> None:
    with pytest.raises(RecipeError) as told:
        rollback_target(promotion, to)
    assert words in str(told.value)


def test_a_promotion_is_found_by_its_student_then_by_its_name() -> None:
    loser = _promotion("twin", phase="Conflict")
    everything = [loser, _promotion(), _promotion("math-student", "physics")]
    assert find(everything, "math-student", "distil") is everything[1]
    assert find(everything, "math", "distil") is everything[1]
    assert find([loser], "math-student", "distil") is loser
    with pytest.raises(RecipeError, match="namespace distil; did you mean math-student"):
        find(everything, "math-studnet", "distil")


def test_the_names_are_those_of_the_operator() -> None:
    assert (APPROVE, ROLLBACK) == (OPERATORS_APPROVE, OPERATORS_ROLLBACK)
    assert (PROMOTION.group, PROMOTION.version, PROMOTION.plural) == (GROUP, VERSION, PLURAL)


Cli = Callable[..., Awaitable[tuple[int, str, str]]]


def _play(
    story: Callable[[World, Cli], Awaitable[None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stillhouse", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0), *capsys.readouterr()

    async def cli(*arguments: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(run, *arguments)

    async def stage() -> None:
        async with world(registry=kopf.OperatorRegistry) as w:
            server = str(w.kube._client._client._client.base_url)
            names: dict[str, Any] = {"cluster": "here", "user": "me", "namespace": NAMESPACE}
            config = {
                "apiVersion": "v1", "kind": "Config", "current-context": "here",
                "clusters": [{"name": "here", "cluster": {"server": server.rstrip("/")}}],
                "users": [{"name": "me", "user": {}}], "contexts": [{"name": "here", "context": names}],
            }  # fmt: skip
            path = tmp_path / "kubeconfig"
            path.write_text(yaml.safe_dump(config), encoding="utf-8")
            monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
            await w.create(PROMOTION, "math", {"student": "math-student"})
            await w.edit(PROMOTION, "math", {"status": _waiting()}, status=True)
            await story(w, cli)

    asyncio.run(stage())


async def _notes(w: World) -> dict[str, str]:
    body = await w.get(PROMOTION, "math")
    assert body is not None
    return dict(body["metadata"].get("annotations") or {})


def test_the_verbs_set_the_annotations_that_the_operator_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story(w: World, cli: Cli) -> None:
        code, out, err = await cli("approve", "math-student", "8", "--evidence", SHA[:8])
        assert (code, out) == (0, "")
        assert "math-student v8 is approved" in err
        assert await _notes(w) == {APPROVE: f"8:{SHA}"}
        code, out, _ = await cli("approve", "math", "v8", "--evidence", SHA, "-o", "json", "-n", NAMESPACE)
        assert json.loads(out) == {
            "namespace": NAMESPACE, "promotion": "math", "version": "8", "student": "math-student", "evidence": SHA,
        }  # fmt: skip
        code, _, err = await cli("rollback", "math-student")
        assert (code, (await _notes(w))[ROLLBACK]) == (0, "6")
        assert "rollback to v6" in err
        code, out, _ = await cli("rollback", "math-student", "--to", "none", "-o", "json")
        assert (await _notes(w))[ROLLBACK] == json.loads(out)["to"] == "none"

    _play(story, tmp_path, monkeypatch, capsys)


def test_a_refusal_is_one_line_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story(w: World, cli: Cli) -> None:
        for arguments, words in (
            (("approve", "math-student", "8", "--evidence", "00000000"), f"its evidence is {SHA}"),
            (("approve", "math-student", "9", "--evidence", SHA), "v8 waits"),
            (("approve", "maht-student", "8", "--evidence", SHA), "did you mean math-student?"),
            (("approve", "math", "8", "--evidence", SHA, "-n", "elsewhere"), "in namespace elsewhere"),
            (("rollback", "math", "--to", "7"), "champion already"),
        ):
            code, out, err = await cli(*arguments)
            assert (code, out) == (2, "")
            assert err.startswith("error: ")
            assert words in err
            assert err.count("\n") == 1
        assert await _notes(w) == {}

    _play(story, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("status", "code", "words"), [(403, 2, "you may not"), (404, 2, "CRDs"), (429, 75, "try again")]
)
def test_what_the_api_refuses_is_said_in_one_line(
    status: int,
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def story(w: World, cli: Cli) -> None:
        async def refuse(cluster: Any, request: Any) -> Any:
            raise kmock.KubernetesError(status=status, reason="No", message="not today")

        monkeypatch.setattr(type(w.cluster), "_handle", refuse)
        ended, _, err = await cli("approve", "math", "8", "--evidence", SHA)
        assert ended == code
        assert words in err
        assert "not today" in err

    _play(story, tmp_path, monkeypatch, capsys)


def test_without_a_cluster_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.setattr(sys, "argv", ["stillhouse", "rollback", "math"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "no cluster" in capsys.readouterr().err
