"""One TrainJob from its creation to its checked end, against an API that may answer late, twice or never.

Knows when to create, wait, delete and give up; nothing of the stage whose work the TrainJob does but where its payload
will be and where its processes leave their errors.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol

from stillhouse.errors import RecipeError, StillhouseError, TransientError, printable
from stillhouse.launch.kube_jobs import Away, Exists, Jobs, Refused
from stillhouse.launch.trainjob_manifest import LAUNCH_ANNOTATION, SPEC_ANNOTATION, manifest, spec_digest
from stillhouse.launch.trainjob_state import Problem, State, failure, observe, pod_problems, stuck
from stillhouse.progress import Progress
from stillhouse.recipe.trainjob import TrainJobSpec
from stillhouse.summary import FILE_NAME
from stillhouse.training.worker import CALL_NAME, clear_errors, left_error

PASSED_ON = (
    "STILLHOUSE_RECIPE_NAME", "STILLHOUSE_RECIPE_SHA256", "STILLHOUSE_KFP_RUN_ID", "STILLHOUSE_KFP_RUN_NAME",
    "STILLHOUSE_KFP_NAMESPACE", "STILLHOUSE_IMAGE_DIGEST", "STILLHOUSE_PARENT_RUN_ID", "STILLHOUSE_CUSTOM_IMPORTS",
    "HF_HUB_OFFLINE", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_RUN_ID", "MLFLOW_WORKSPACE", "MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_S3_ENDPOINT_URL",
)  # fmt: skip
"""Variables that the nodes get from the launcher. No credential is among them: those are given by reference."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 30.0
_START_LIMIT_S, _AWAY_LIMIT_S = 900.0, 1800.0
# Registries have bad minutes, and a Secret may be created after the pod.
_STUCK_LIMIT_S = 300.0
# A network file system may show a new file late.
_PAYLOAD_LIMIT_S = 90.0
_CANCEL_LIMIT_S = 20.0


class Clock(Protocol):
    """Seconds that pass; tests have their own."""

    def now(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class RealClock:
    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass
class Launcher:
    """Drives one TrainJob. ``folder`` holds the call and the errors of its processes, ``payload`` is the result."""

    spec: TrainJobSpec
    name: str
    folder: Path
    payload: Path
    jobs: Jobs
    clock: Clock
    progress: Progress = field(default_factory=lambda: Progress("train_student"))
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    _deaf: bool = field(default=False, repr=False)

    @property
    def place(self) -> str:
        """Namespace and name."""
        return f"{self.jobs.namespace}/{self.name}"

    @property
    def title(self) -> str:
        return f"TrainJob {self.place}"

    def run(self) -> None:
        """Create or find the TrainJob and wait for its end. Raises as ``launch`` does."""
        self._start()
        self._wait()
        if not self.spec.keep:
            with suppress(Away, Refused):
                self.jobs.delete(self.name)

    def cancel(self) -> None:
        """Delete the TrainJob, as long as there is time: a pod that is stopped has 30 seconds."""
        until = self.clock.now() + _CANCEL_LIMIT_S
        while True:
            try:
                self.jobs.delete(self.name)
                self._say("cancelled; deleted, its checkpoints are kept")
                return
            except (Away, Refused) as error:
                if self.clock.now() >= until:
                    self._say(f"cancelled, but could not be deleted ({error}); delete it by hand")
                    return
                self.clock.sleep(1.0)

    def _start(self) -> None:
        """There is a TrainJob of this name and it works on this call. A lost answer never creates a second one."""
        until, pause, last = self.clock.now() + _START_LIMIT_S, _Pause(), "no answer"
        while self.clock.now() < until:
            try:
                found = self.jobs.get(self.name)
                if found is None:
                    self._create()
                    return
                if self._takes_over(found):
                    return
                last = "an earlier one is still being deleted"
                wait_s = pause.next()
            except Exists as error:
                last, wait_s = str(error), pause.next()
            except Away as error:
                last, wait_s = str(error), max(pause.next(), error.retry_after_s)
            except Refused as error:
                raise self._refused(error) from error
            self.clock.sleep(wait_s)
        raise TransientError(f"{self.title}: could not be created in {_START_LIMIT_S:.0f} s ({last}); run again")

    def _create(self) -> None:
        clear_errors(self.folder)
        owner = None
        with suppress(Away, Refused):  # a courtesy: without it, a deleted run leaves its TrainJob to end by itself
            owner = self.jobs.owner()
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        call = str(self.folder / CALL_NAME)
        self.jobs.create(manifest(self.spec, name=self.name, call=call, env=env, launch=self.identity, owner=owner))
        queue = f", queue {self.spec.queue}" if self.spec.queue else ""
        self._say(f"created: {self.spec.nodes} nodes of {self.spec.processes_per_node} processes{queue}")

    def _takes_over(self, found: Mapping[str, Any]) -> bool:
        """Whether ``found`` is, or does, what this launcher would create; what does not is deleted."""
        metadata = found["metadata"]
        notes = metadata.get("annotations") or {}
        if metadata.get("deletionTimestamp"):
            return False
        if notes.get(LAUNCH_ANNOTATION) == self.identity:
            self._say("created")
            return True
        state = observe(found)
        cause = ""
        if notes.get(SPEC_ANNOTATION) != spec_digest(self.spec):
            cause = "it runs elsewhere in the cluster than the recipe says now"
        elif state.phase == "failed":
            cause = f"an earlier try {state.text}"
        elif state.phase == "complete" and not self._is_done():
            cause = "an earlier one is complete, but its result was removed"
        if cause:
            self._say(f"is replaced: {cause}")
            self.jobs.delete(self.name)
            return False
        self._say(f"found, goes on ({state.text})")
        return True

    def _wait(self) -> None:
        """Wait for the end, say every change, and check how it ended."""
        pause, seen, stuck_until = _Pause(), "", 0.0
        problems: Sequence[Problem] = ()
        while True:
            job = self._get(pause)
            if job is None:
                self._vanished()
                return
            pods = self._look(self.jobs.pods)
            current = pod_problems(pods)
            # Pods that used up their restarts are removed: what was seen last explains the failure.
            problems = current or problems
            state = observe(job, pods)
            if state.phase in ("suspended", "pending"):
                state = observe(job, pods, self._look(self.jobs.warnings))
            if state.text != seen:
                self._say(state.text)
                seen, pause = state.text, _Pause()
            if state.phase == "complete":
                self._check_payload()
                return
            if state.phase == "failed":
                if self._is_done():  # a process fell while taking its leave
                    return
                self._fail(state, problems)
            left = left_error(self.folder)
            if isinstance(left, RecipeError):  # Kubernetes would start its pods again and again
                self._give_up(left)
            blocking = next((item for item in current if item.kind in ("image", "start")), None)
            stuck_until = (stuck_until or self.clock.now() + _STUCK_LIMIT_S) if blocking else 0.0
            if blocking and self.clock.now() >= stuck_until:
                self._give_up(stuck(self.place, blocking))
            self.clock.sleep(pause.next())

    def _get(self, pause: _Pause) -> dict[str, Any] | None:
        """The TrainJob, or None; the API may be away for a while."""
        until = self.clock.now() + _AWAY_LIMIT_S
        while True:
            try:
                return self.jobs.get(self.name)
            except Refused as error:
                raise self._refused(error) from error
            except Away as error:
                if self.clock.now() >= until:
                    raise TransientError(
                        f"{self.title}: the API gave no answer for {_AWAY_LIMIT_S:.0f} s ({error}); the training goes "
                        "on, run again to wait for it"
                    ) from error
                self.clock.sleep(max(pause.next(), error.retry_after_s))

    def _fail(self, state: State, problems: Sequence[Problem]) -> NoReturn:
        crash = next((item for item in problems if item.kind == "crash"), None)
        if crash:
            with suppress(Away, Refused):
                self._say(f"the log of pod {crash.pod} ends with\n{self.jobs.log_tail(crash.pod)}")
        raise failure(self.place, state, problems, left_error(self.folder), self.spec.timeout_s)

    def _give_up(self, error: StillhouseError) -> NoReturn:
        with suppress(Away, Refused):
            self.jobs.delete(self.name)
        raise error

    def _vanished(self) -> None:
        """Somebody deleted the TrainJob; perhaps another launcher of the same work, after its end."""
        if not self._is_done():
            raise TransientError(
                f"{self.title}: was deleted before it was complete; run again to continue from the last checkpoint"
            )
        self._say("complete")

    def _check_payload(self) -> None:
        until = self.clock.now() + _PAYLOAD_LIMIT_S
        while not self._is_done():
            if self.clock.now() >= until:
                raise RecipeError(
                    f"{self.title}: is complete, but {self.payload} does not exist; its nodes must mount the same "
                    f"folder of the same claim as this task at {self.spec.mount_path}, correct cluster.workspace"
                )
            self.clock.sleep(_FIRST_PAUSE_S)

    def _is_done(self) -> bool:
        return (self.payload / FILE_NAME).is_file()

    def _look(self, call: Callable[[str], list[Any]]) -> list[Any]:
        """What would help to explain the state, if it can be had."""
        try:
            return call(self.name)
        except Away:
            return []
        except Refused as error:
            if not self._deaf:
                self._deaf = True
                self._say(f"cannot look at its pods and events ({error}); only the TrainJob's own state is shown")
            return []

    def _refused(self, error: Refused) -> StillhouseError:
        if error.status == 404:
            cure = "install Kubeflow Trainer (2.2 or newer) in this cluster, or train on one node"
        elif error.status == 403 and "quota" in str(error):
            return TransientError(f"{self.title}: {error}; run again when there is room, or raise the quota")
        elif error.status == 403:
            cure = "let the run's service account create, get and delete trainjobs.trainer.kubeflow.org"
        else:
            cure = "correct cluster.stages.train_student (Kubeflow Trainer 2.2 or newer is needed)"
        return RecipeError(f"{self.title}: the API refuses it ({error.status} {error}); {cure}")

    def _say(self, text: str) -> None:
        self.progress.say(printable(f"{self.title}: {text}"))


@dataclass
class _Pause:
    """Longer and longer pauses, in seconds."""

    seconds: float = _FIRST_PAUSE_S

    def next(self) -> float:
        now, self.seconds = self.seconds, min(self.seconds * 1.5, _LONGEST_PAUSE_S)
        return now
