"""The launcher against an API on loopback: a TrainJob's life, and an API that answers late, twice or never."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stillhouse import entry
from stillhouse.errors import RecipeError, StillhouseError, TransientError
from stillhouse.launch import trainjob
from stillhouse.launch.trainjob_manifest import SPEC_ANNOTATION, spec_digest
from stillhouse.recipe.trainjob import TRAINJOB_ENV, TrainJobSpec
from stillhouse.summary import StageSummary
from stillhouse.training.worker import Call

pytest.importorskip("kmock", reason="kmock (extra dev) stands in for Kubernetes") if not os.environ.get("CI") else None
HERE = runpy.run_path(str(Path(__file__).with_name("trainjob_cluster.py")))
TRAINJOBS, NAMESPACE, Clock = HERE["TRAINJOBS"], HERE["NAMESPACE"], HERE["Clock"]
SUSPENDED = ("Suspended", "True", "Suspended", "TrainJob is suspended")
RESUMED = ("Suspended", "False", "Resumed", "TrainJob is resumed")
COMPLETE = ("Complete", "True", "AllJobsCompleted", "jobset completed successfully")
FAILED = ("Failed", "True", "FailedJobs", "jobset failed due to one or more job failures")
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


@pytest.fixture(scope="module")
def api() -> Iterator[Any]:
    with HERE["cluster"]() as found:
        yield found


@dataclass
class World:
    """One launch: its inputs, its cluster, its clock."""

    cluster: Any
    root: Path
    clock: Any
    spec: TrainJobSpec
    config: dict[str, Any]

    def launch(self) -> None:
        trainjob.launch(
            self.spec, self.config, records=self.root / "records", teacher=self.root / "teacher",
            workspace=self.root / "workspace", jobs=self.cluster.jobs(), clock=self.clock,
        )  # fmt: skip

    @property
    def folder(self) -> Path:
        (folder,) = (self.root / "workspace" / "work" / "train_student").glob("*/trainjob")
        return folder

    @property
    def name(self) -> str:
        return f"sh-{self.folder.parent.name[:12]}"

    def finish(self) -> None:
        """What rank 0 does at its end."""
        payload = self.root / "workspace" / "stages" / "train_student" / self.folder.parent.name / "payload"
        payload.mkdir(parents=True)
        StageSummary(stage="train_student", key=self.folder.parent.name).write(payload)

    def lives(self, *steps: Callable[[], Any]) -> None:
        self.clock.script += steps

    def becomes(self, *conditions: tuple[str, str, str, str]) -> Callable[[], None]:
        return lambda: self.cluster.conditions(self.name, *conditions)

    def completes(self) -> None:
        self.finish()
        self.cluster.conditions(self.name, COMPLETE)


@pytest.fixture
def world(api: Any, tmp_path: Path) -> Iterator[World]:
    api.kube.faults.clear()
    api.kube.log.clear()
    for name in ("records", "teacher"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").write_text(name)
    StageSummary(stage="filter_traces", key="f").write(tmp_path / "records")
    StageSummary(stage="select_teacher", key="s").write(tmp_path / "teacher")
    spec = TrainJobSpec(
        nodes=2, image="ghcr.io/x/stillhouse-train:1", queue="team-a", workspace_claim="claim", mount_path=str(tmp_path)
    )
    # The key, and so the name of the TrainJob, differs from test to test.
    config = {"student": {"model": str(tmp_path)}, "train": {"batch_size": 4}}
    yield World(api, tmp_path, Clock(), spec, config)
    for name in api.jobs_there():
        api.remove(TRAINJOBS, name)
    for key in list(api.kube.objects):
        if key[0].plural != "trainjobs":
            del api.kube.objects[key]


def test_a_trainjob_waits_in_its_queue_runs_and_leaves_the_payload(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.lives(
        world.becomes(SUSPENDED),
        lambda: None,
        lambda: None,
        world.becomes(RESUMED),
        lambda: world.cluster.pod(world.name, 0, phase="Pending"),
        lambda: [world.cluster.pod(world.name, index, **READY) for index in range(2)],
        world.completes,
    )
    world.launch()
    said = [line.partition(": TrainJob ")[2].split(": ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "created: 2 nodes of 1 processes, queue team-a",
        "waiting for its pods (0 of 2 exist)",
        "waiting in the queue team-a",
        "waiting for its pods (0 of 2 exist)",
        "waiting for its pods (1 of 2 exist)",
        "running: 2 of 2 nodes",
        "complete",
    ]
    assert world.cluster.jobs_there() == []
    assert len(world.cluster.requests("POST", "trainjobs")) == 1
    assert world.cluster.requests("POST", "trainjobs")[0][2] == {"fieldValidation": "Strict"}


def test_the_call_is_what_all_nodes_can_read(world: World) -> None:
    """Artifacts of the launcher's pod are copied, those of the workspace are named."""
    stored = world.root / "workspace" / "stages" / "filter_traces" / "f" / "payload"
    stored.mkdir(parents=True)
    StageSummary(stage="filter_traces", key="f").write(stored)
    calls: list[Call] = []
    bodies: list[dict[str, Any]] = []

    def look() -> None:
        calls.append(Call.read(world.folder / "call.json"))
        bodies.append(world.cluster.get(TRAINJOBS, world.name))
        assert (calls[0].teacher / "data").read_text() == "teacher"
        world.completes()

    world.lives(look)
    world.launch()
    assert calls[0].records == stored
    assert calls[0].teacher.is_relative_to(world.root / "workspace" / "work")
    assert calls[0].workspace == world.root / "workspace"
    assert calls[0].config["student"]["model"] == str(world.root)
    folder = world.root / "workspace" / "work" / "train_student"
    assert bodies[0]["spec"]["trainer"]["args"][-1].startswith(str(folder))
    assert not list(folder.glob("*/trainjob")), "the call is removed when its work is done"


def test_no_credential_of_the_launcher_reaches_the_trainjob(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    monkeypatch.setenv("HF_TOKEN", "s3cret")
    monkeypatch.setenv("MLFLOW_RUN_ID", "run-7")
    seen: list[dict[str, Any]] = []
    world.lives(lambda: seen.append(world.cluster.get(TRAINJOBS, world.name)), world.completes)
    world.launch()
    assert "s3cret" not in json.dumps(seen)
    assert {"name": "MLFLOW_RUN_ID", "value": "run-7"} in seen[0]["spec"]["trainer"]["env"]


def test_work_that_is_done_starts_nothing(world: World) -> None:
    world.lives(world.completes)
    world.launch()
    world.cluster.kube.log.clear()
    world.launch()
    assert world.cluster.kube.log == []


@pytest.mark.parametrize(
    ("method", "kind", "times"),
    [
        ("POST", "lost", 1),
        ("POST", "cut", 3),
        ("POST", (500, "etcdserver: request timed out", {}), 2),
        ("POST", (429, "slow down", {"Retry-After": "17"}), 1),
        ("GET", "cut", 3),
        ("GET", "garbage", 2),
        ("GET", (503, "apiserver is starting", {}), 2),
        ("GET", (401, "token is renewed", {}), 1),
    ],
)
def test_an_api_that_fails_while_creating_makes_one_trainjob(world: World, method: str, kind: Any, times: int) -> None:
    world.cluster.fault(method, "trainjobs", kind, times)
    created: list[str] = []

    def look() -> None:
        created.extend(world.cluster.jobs_there())
        if created:
            world.completes()
        else:
            world.lives(look)

    world.lives(look)
    world.launch()
    assert created == [world_name(world)]
    posts = len(world.cluster.requests("POST", "trainjobs"))
    assert posts == (1 if method == "GET" or kind == "lost" else times + 1)
    if isinstance(kind, tuple) and "Retry-After" in kind[2]:
        assert 17.0 in world.clock.naps


def world_name(world: World) -> str:
    (payload,) = (world.root / "workspace" / "stages" / "train_student").iterdir()
    return f"sh-{payload.name[:12]}"


def test_a_name_that_somebody_took_in_the_meantime_is_found(world: World) -> None:
    world.cluster.fault("POST", "trainjobs", (409, "already exists", {}))

    def created_by_another() -> None:
        notes = {SPEC_ANNOTATION: spec_digest(world.spec)}
        world.cluster.put(TRAINJOBS, {"metadata": {"name": world.name, "annotations": notes}, "spec": {}})

    world.lives(created_by_another, world.completes)
    world.launch()
    assert len(world.cluster.requests("POST", "trainjobs")) == 1


@pytest.mark.parametrize("kind", ["cut", "garbage", (429, "slow down", {}), (500, "boom", {}), (504, "late", {})])
def test_an_api_that_fails_while_waiting_is_waited_for(world: World, kind: Any) -> None:
    world.lives(lambda: world.cluster.fault("GET", "trainjobs/", kind, 5), *[lambda: None] * 5, world.completes)
    world.launch()


def test_an_api_that_stays_away_is_a_matter_for_the_next_try_which_takes_the_trainjob_over(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.lives(lambda: world.cluster.fault("GET", "trainjobs/", "cut", 500))
    with pytest.raises(TransientError, match="the training goes on, run again to wait for it"):
        world.launch()
    assert 1800 <= world.clock.seconds < 1900
    world.cluster.kube.faults.clear()
    assert world.cluster.jobs_there() == [world.name]
    world.lives(world.completes)
    world.launch()
    assert "found, goes on" in capsys.readouterr().err
    assert len(world.cluster.requests("POST", "trainjobs")) == 1


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ((404, "the server could not find the requested resource", {}), RecipeError, "install Kubeflow Trainer"),
        ((403, "trainjobs is forbidden: cannot create", {}), RecipeError, "let the run's service account create"),
        ((403, "exceeded quota: jobs, requested: 1", {}), TransientError, "exceeded quota.*when there is room"),
        ((400, 'unknown field "spec.runtimePatches"', {}), RecipeError, "runtimePatches.*2.2 or newer is needed"),
        ((422, "spec.runtimeRef: not found", {}), RecipeError, "runtimeRef: not found"),
    ],
)
def test_a_trainjob_that_the_api_refuses_is_one_line(world: World, fault: Any, error: type, words: str) -> None:
    world.cluster.fault("POST", "trainjobs", fault)
    with pytest.raises(error, match=words) as caught:
        world.launch()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"TrainJob {NAMESPACE}/sh-")


def ended(reason: str, code: int) -> dict[str, Any]:
    return {
        "phase": "Failed",
        "containerStatuses": [{"name": "node", "state": {"terminated": {"reason": reason, "exitCode": code}}}],
    }


@pytest.mark.parametrize(
    ("condition", "pod", "error", "words"),
    [
        (FAILED, ended("OOMKilled", 137), RecipeError, "not enough memory.*raise cluster.stages.train_student.memory"),
        (FAILED, {"phase": "Failed", "reason": "Evicted", "message": "low on disk"}, TransientError, "Evicted: low"),
        (
            FAILED,
            {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
            TransientError,
            "PreemptionByScheduler.*continue from the last checkpoint",
        ),
        (FAILED, ended("Error", 1), StillhouseError, "ended with exit code 1 .FailedJobs: jobset failed"),
        (FAILED, None, StillhouseError, "FailedJobs: jobset failed due to one or more job failures"),
        (("Failed", "True", "DeadlineExceeded", "too long"), None, RecipeError, "ran longer than 60 s; .*timeout"),
        (("Failed", "True", "TrainingRuntimeNotSupported", "no x"), None, RecipeError, "no x; correct .*runtime"),
    ],
)  # fmt: skip
def test_a_trainjob_that_fails_says_why(
    world: World, condition: Any, pod: Any, error: type, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.spec = world.spec.model_copy(update={"timeout_s": 60})
    if pod:
        world.lives(lambda: world.cluster.pod(world.name, **pod))
    world.lives(world.becomes(condition))
    with pytest.raises(StillhouseError, match=words) as caught:
        world.launch()
    assert type(caught.value) is error
    assert ("ValueError: a bug" in capsys.readouterr().err) == (pod == ended("Error", 1))
    assert world.cluster.jobs_there() == [world.name], "a failed TrainJob stays for people to look at"


def test_pods_that_are_gone_when_the_trainjob_fails_are_remembered(world: World) -> None:
    pods: list[str] = []
    world.lives(
        lambda: pods.append(world.cluster.pod(world.name, **ended("OOMKilled", 137))),
        lambda: world.cluster.remove(HERE["PODS"], pods[0]),
        world.becomes(FAILED),
    )
    with pytest.raises(RecipeError, match="OOMKilled"):
        world.launch()


def test_what_the_training_itself_raised_ends_the_trainjob_at_once(world: World) -> None:
    def raises() -> None:
        left = {"family": "RecipeError", "text": "train: the loss of step 3 is not a finite number"}
        (world.folder / "error-0.json").write_text(json.dumps(left))

    world.lives(lambda: world.cluster.pod(world.name, **READY), raises)
    with pytest.raises(RecipeError, match=r"^train: the loss of step 3 is not a finite number$"):
        world.launch()
    assert world.cluster.jobs_there() == []


def test_a_full_disk_on_the_nodes_is_left_to_their_restarts_and_told_at_the_end(world: World) -> None:
    def raises() -> None:
        (world.folder / "error-0.json").write_text('{"family": "TransientError", "text": "disk full"}')

    world.lives(raises, lambda: None, world.becomes(FAILED))
    with pytest.raises(TransientError, match=r"^disk full$"):
        world.launch()
    assert len(world.clock.naps) == 3


def test_a_failed_trainjob_of_an_earlier_try_is_replaced(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.lives(world.becomes(FAILED))
    with pytest.raises(StillhouseError):
        world.launch()
    (world.folder / "error-0.json").write_text('{"family": "RecipeError", "text": "old"}')
    world.lives(lambda: None, world.completes)
    world.launch()
    assert "is replaced: an earlier try failed (FailedJobs" in capsys.readouterr().err
    assert len(world.cluster.requests("POST", "trainjobs")) == 2


def test_a_trainjob_in_another_place_of_the_cluster_is_replaced(world: World) -> None:
    world.lives(lambda: world.cluster.fault("GET", "trainjobs/", "cut", 500))
    with pytest.raises(TransientError):
        world.launch()
    world.cluster.kube.faults.clear()
    world.spec = world.spec.model_copy(update={"image": "ghcr.io/x/stillhouse-train:2"})
    images: list[str] = []

    def look() -> None:
        found = world.cluster.get(TRAINJOBS, world.name)
        images.extend([found["spec"]["trainer"]["image"]] if found else [])
        world.lives(world.completes if found else look)

    world.lives(look)
    world.launch()
    assert images == ["ghcr.io/x/stillhouse-train:2"]


def test_a_trainjob_that_is_being_deleted_is_waited_for(world: World) -> None:
    world.lives(lambda: world.cluster.fault("GET", "trainjobs/", "cut", 500))
    with pytest.raises(TransientError):
        world.launch()
    world.cluster.kube.faults.clear()
    name = world.name
    world.cluster.patch(name, metadata={"deletionTimestamp": "2026-11-24T10:00:00Z", "finalizers": ["foreground"]})
    world.lives(lambda: None, lambda: world.cluster.remove(TRAINJOBS, name), lambda: None, world.completes)
    world.launch()
    assert len(world.cluster.requests("POST", "trainjobs")) == 2


def test_a_trainjob_that_vanishes_is_retried_later_unless_its_work_is_done(world: World) -> None:
    world.lives(lambda: None, lambda: world.cluster.remove(TRAINJOBS, world.name))
    with pytest.raises(TransientError, match="was deleted before it was complete; run again to continue"):
        world.launch()
    world.lives(lambda: (world.finish(), world.cluster.remove(TRAINJOBS, world.name)))
    world.launch()


def test_complete_is_believed_only_when_the_payload_is_there(world: World) -> None:
    world.lives(world.becomes(COMPLETE))
    with pytest.raises(RecipeError, match=r"is complete, but .*/payload does not exist; its nodes must mount the same"):
        world.launch()
    # A run after that does not take the empty success for one.
    world.lives(lambda: None, world.completes)
    world.launch()


def test_a_payload_that_a_network_file_system_shows_late_is_waited_for(world: World) -> None:
    world.lives(world.becomes(COMPLETE), lambda: None, lambda: None, world.finish)
    world.launch()


def test_a_complete_trainjob_can_be_kept(world: World) -> None:
    world.spec = world.spec.model_copy(update={"keep": True})
    world.lives(world.completes)
    world.launch()
    assert world.cluster.jobs_there() == [world_name(world)]


def test_an_image_that_cannot_be_pulled_is_given_five_minutes(world: World) -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
    status = {"containerStatuses": [{"name": "node", "image": "ghcr.io/x/y:1", "state": {"waiting": waiting}}]}
    world.lives(lambda: world.cluster.pod(world.name, phase="Pending", **status))
    with pytest.raises(RecipeError, match=r"image ghcr\.io/x/y:1 cannot be pulled .*correct cluster\.images"):
        world.launch()
    assert 300 <= world.clock.seconds <= 345
    assert world.cluster.jobs_there() == []


def test_an_image_that_is_pulled_in_the_end_is_no_failure(world: World) -> None:
    waiting = {"reason": "ErrImagePull", "message": "registry is down"}
    status = {"containerStatuses": [{"name": "node", "image": "i", "state": {"waiting": waiting}}]}
    world.lives(
        lambda: world.cluster.pod(world.name, phase="Pending", **status),
        *[lambda: None] * 8,
        lambda: world.cluster.pod(world.name, **READY),
        *[lambda: None] * 30,
        world.completes,
    )
    world.launch()
    assert world.clock.seconds > 600


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ("{}-node-0", 'pods "x" is forbidden: exceeded quota: gpus, requested: 8, used: 0, limited: 4'),
        ("{}", "TrainJob resources reconciliation failed: webhook"),
    ],
)
def test_a_quota_that_is_exhausted_is_waited_for_and_said(
    world: World, about: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.lives(
        lambda: world.cluster.event(about.format(world.name), message),
        lambda: world.cluster.event("another-job", "another matter"),
        *[lambda: None] * 40,
        world.completes,
    )
    world.launch()
    said = capsys.readouterr().err
    assert f"waiting for its pods (0 of 2 exist): {message}" in said
    assert "another matter" not in said
    assert said.count(message) == 1, "a state is said once"


def test_a_launcher_that_may_not_look_at_pods_still_learns_the_end(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.cluster.fault("GET", "/(pods|events)", (403, "pods is forbidden", {}), 100)
    world.lives(*[lambda: None] * 3, world.completes)
    world.launch()
    assert capsys.readouterr().err.count("cannot look at its pods and events") == 1


def test_the_trainjob_belongs_to_the_run_that_this_pod_belongs_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "w", "uid": "u", "controller": True}
    metadata = {"name": "launcher-pod", "namespace": NAMESPACE, "ownerReferences": [owner]}
    world.cluster.put(HERE["PODS"], {"metadata": metadata})
    monkeypatch.setenv("HOSTNAME", "launcher-pod")
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    seen: list[Any] = []
    world.lives(lambda: seen.append(world.cluster.get(TRAINJOBS, world.name)), world.completes)
    world.launch()
    expected = [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "w", "uid": "u"}]
    assert seen[0]["metadata"]["ownerReferences"] == expected


def test_more_processes_than_examples_are_refused_before_anything_starts(world: World) -> None:
    world.spec = world.spec.model_copy(update={"processes_per_node": 4})
    with pytest.raises(RecipeError, match="is 4, but 2 nodes of 4 processes share each step"):
        world.launch()
    assert world.cluster.kube.log == []


def test_a_workspace_that_the_nodes_do_not_mount_is_refused(world: World) -> None:
    world.spec = world.spec.model_copy(update={"mount_path": "/workspace"})
    with pytest.raises(RecipeError, match="must be /workspace or a folder in it"):
        world.launch()


def test_a_launcher_that_is_cancelled_deletes_the_trainjob(world: World) -> None:
    """A real process and a real SIGTERM, while it waits."""
    code = f"""
import sys
from pathlib import Path
from kubernetes import client
from stillhouse.launch import trainjob
from stillhouse.launch.kube_jobs import KubeJobs
from stillhouse.recipe.trainjob import read_spec
root = Path({str(world.root)!r})
jobs = KubeJobs(client.ApiClient(client.Configuration(host={world.cluster.url!r})), {NAMESPACE!r})
trainjob.launch(read_spec({world.spec.model_dump_json()!r}), {world.config!r}, records=root / "records",
                teacher=root / "teacher", workspace=root / "workspace", jobs=jobs)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 60
        while not world.cluster.jobs_there() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.05)
        assert world.cluster.jobs_there(), process.communicate(timeout=5)
        world.cluster.fault("DELETE", "trainjobs", (503, "busy", {}))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 143
    assert "cancelled; deleted" in said
    assert world.cluster.jobs_there() == []


@dataclass
class Artifact:
    path: str


def test_the_component_starts_a_trainjob_only_where_the_environment_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(entry, "run_component", lambda name, _config, **_: ran.append(name))
    launched: list[TrainJobSpec] = []
    monkeypatch.setattr(trainjob, "launch", lambda spec, _config, **_: launched.append(spec))
    arguments = {name: Artifact("x") for name in ("records", "teacher", "output", "metrics", "report")}
    trainjob.run_component("train_student", world.config, workspace="w", **arguments)
    assert (ran, launched) == (["train_student"], [])
    monkeypatch.setenv(TRAINJOB_ENV, world.spec.model_dump_json())
    trainjob.run_component("train_student", world.config, workspace="w", **arguments)
    assert (ran, launched) == (["train_student"] * 2, [world.spec])
    monkeypatch.setenv(TRAINJOB_ENV, '{"nodes": 2, "imag": "x"}')
    with pytest.raises(SystemExit) as caught:
        trainjob.run_component("train_student", world.config, workspace="w", **arguments)
    assert caught.value.code == 2
    assert "STILLHOUSE_TRAINJOB: " in capsys.readouterr().err
    assert len(ran) == 2


def test_outside_of_a_cluster_the_launcher_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(RecipeError, match="this is no pod"):
        trainjob.launch(
            world.spec, world.config, records=world.root / "records", teacher=world.root / "teacher",
            workspace=world.root / "workspace",
        )  # fmt: skip
