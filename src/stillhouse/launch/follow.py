"""Runs that exist: finding, showing, following, stopping and continuing them. Knows KFP's run records, no recipe."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stillhouse.errors import RecipeError, TransientError, nearest
from stillhouse.launch.answers import NotFound, Unable
from stillhouse.launch.client import Kfp
from stillhouse.launch.once import FINAL, Found, start_run
from stillhouse.launch.placement import STAGE_LABEL
from stillhouse.launch.submit import LONGEST_LABEL, check_label, told_of

Record = dict[str, Any]
STAGES = (
    "select_teacher", "generate_traces", "filter_traces", "train_student", "evaluate_student", "register_student",
    "promote_student", "report_run",
)  # fmt: skip
EPOCH = "1970-01-01"
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EXECUTOR = "system-container-impl"
"""KFP's template of the pod that runs a component; it stands in the pod's name, not in the node's."""
_PATIENCE_S = 900.0


def find_run(kfp: Kfp, reference: str) -> Record:
    """The run with this id, display name or label.

    Raises:
        RecipeError: no such run, or several; names the nearest.
    """
    if _RUN_ID.fullmatch(reference):
        return kfp.get_run(reference)
    rows = [
        run
        for run in kfp.find_runs(like=reference)
        if run["display_name"] == reference or told_of(run).get("label") == reference
    ]
    if not rows:
        known = [name for run in kfp.find_runs() for name in (run["display_name"], told_of(run).get("label", ""))]
        raise RecipeError(
            f"run {reference}: there is none of that id, name or label; {nearest(reference, filter(None, known))}"
        )
    if len(rows) > 1:
        ids = ", ".join(f"{run['run_id']} ({run['display_name']})" for run in rows)
        raise RecipeError(f"run {reference}: there are {len(rows)}; name one by its id: {ids}")
    return kfp.get_run(rows[0]["run_id"])


def run_row(kfp: Kfp, run: Mapping[str, Any]) -> Record:
    """What a list shows of a run."""
    told = told_of(run)
    return {
        "run_id": run["run_id"],
        "run_name": run["display_name"],
        "run_label": told.get("label", ""),
        "state": run.get("state", "PENDING"),
        "created_at": run["created_at"],
        "finished_at": _time(run.get("finished_at")),
        "recipe_sha256": told.get("recipe_sha256", ""),
        "url": kfp.endpoint.run_url(run["run_id"]),
        "error": (run.get("error") or {}).get("message", ""),
    }


def stage_rows(run: Mapping[str, Any]) -> list[Record]:
    """One row for each stage that has begun, in the order of the pipeline; shards of a stage count together."""
    rows = []
    for stage in STAGES:
        tasks = _tasks(run, stage)
        if not tasks:
            continue
        states = [str(task.get("state", "PENDING")) for task in tasks]
        done = sum(state in FINAL for state in states)
        errors = [task["error"]["message"] for task in tasks if task.get("error")]
        rows.append(
            {
                "stage": stage,
                "state": _worst(states),
                "tasks": f"{done}/{len(tasks)}",
                "started_at": min(str(task["start_time"]) for task in tasks),
                "finished_at": max(_time(task.get("end_time")) for task in tasks) if done == len(tasks) else "",
                "error": errors[0] if errors else "",
            }
        )
    return rows


def follow(kfp: Kfp, run_id: str, say: Callable[[str], None], *, poll_s: float = 5.0) -> Record:
    """Wait until the run has ended, and tell every change of a stage; returns the run.

    Raises:
        TransientError: KFP has not answered for a quarter of an hour; the run goes on.
    """
    shown: dict[str, tuple[str, str]] = {}
    heard = time.monotonic()
    while True:
        try:
            run = kfp.get_run(run_id)
        except TransientError:
            if time.monotonic() - heard > _PATIENCE_S:
                raise
            time.sleep(poll_s)
            continue
        heard = time.monotonic()
        for row in stage_rows(run):
            now = (row["state"], row["tasks"])
            if shown.get(row["stage"]) != now:
                shown[row["stage"]] = now
                say(f"  {row['stage']:<19} {row['state'].lower():<10} {row['tasks']}  {row['error']}".rstrip())
        if run.get("state") in FINAL:
            return run
        time.sleep(poll_s)


def cancel(kfp: Kfp, run: Mapping[str, Any]) -> bool:
    """Terminate the run; False where it has ended already."""
    run_id = str(run["run_id"])
    if run.get("state") in FINAL:
        return False
    for left in reversed(range(kfp.tries)):
        try:
            kfp.terminate_run(run_id)
        except (TransientError, RecipeError) as error:
            # The answer may have been lost, or the run has ended meanwhile.
            if kfp.get_run(run_id).get("state") in (*FINAL, "CANCELING"):
                return True
            if isinstance(error, RecipeError) or not left:
                raise
            kfp.pause(kfp.tries - left - 1, error)
        else:
            return True
    return True


def resume(kfp: Kfp, run: Mapping[str, Any]) -> Found:
    """Go on with what failed; what has succeeded is kept.

    KFP retries the run itself where it can. Where it cannot (its workflow is gone), the same version starts anew with
    the same parameters, and KFP's cache and the workspace answer what is done.

    Raises:
        RecipeError: the run has succeeded, or has not ended.
    """
    state, run_id = str(run.get("state", "PENDING")), str(run["run_id"])
    if state == "SUCCEEDED":
        raise RecipeError(f"run {run['display_name']}: has succeeded; there is nothing to resume")
    if state not in FINAL:
        raise RecipeError(f"run {run['display_name']}: is {state.lower()}; cancel it first, or wait")
    for tried in range(kfp.tries):
        try:
            kfp.retry_run(run_id)
        except Unable:
            break
        except TransientError as error:
            now = kfp.get_run(run_id)
            if now.get("state") not in FINAL:
                return Found(now, created=False)
            if tried == kfp.tries - 1:
                raise
            kfp.pause(tried, error)
        except NotFound:
            raise
        except RecipeError:
            break
        else:
            return Found(kfp.get_run(run_id), created=False)
    return _anew(kfp, run)


def _anew(kfp: Kfp, run: Mapping[str, Any]) -> Found:
    name, number = re.fullmatch(r"(.+?)(?:-r(\d+))?", str(run["display_name"])).groups()  # type: ignore[union-attr]
    suffix = f"-r{int(number or 0) + 1}"
    told = told_of(run)
    label = re.sub(r"-r\d+$", "", told.get("label", "resumed"))[: LONGEST_LABEL - len(suffix)].rstrip("-") + suffix
    check_label(label)
    body = {key: run[key] for key in ("experiment_id", "pipeline_version_reference", "service_account") if run.get(key)}
    body |= {"display_name": name + suffix, "runtime_config": dict(run["runtime_config"])}
    body["description"] = _description(label, told.get("recipe_sha256", ""))
    return start_run(kfp, body)


def _description(label: str, digest: str) -> str:
    import json

    return json.dumps({"stillhouse": {"label": label, "recipe_sha256": digest}})


def logs(kfp: Kfp, run: Mapping[str, Any], stage: str) -> Iterator[tuple[str, str]]:
    """(pod, text) of every pod of ``stage`` (all stages: "") that KFP can still read.

    Raises:
        RecipeError: no such stage; it has not begun; KFP has no log, with the kubectl command that asks the cluster.
    """
    if stage and stage not in STAGES:
        raise RecipeError(f"--stage {stage}: no such stage; {nearest(stage, STAGES)}")
    run_id = str(run["run_id"])
    tasks = [task for name in ([stage] if stage else STAGES) for task in _tasks(run, name)]
    if not tasks:
        raise RecipeError(
            f"run {run['display_name']}: {stage or 'no stage'} has not begun; look with: stillhouse status {run_id}"
        )
    found = False
    for node in (
        child["pod_name"] for task in tasks for child in task.get("child_tasks") or () if child.get("pod_name")
    ):
        for pod in dict.fromkeys((_pod_name(node), node)):
            text = kfp.log(run_id, pod)
            if text is not None:
                found = True
                yield pod, text
                break
    if not found:
        raise RecipeError(
            f"run {run['display_name']}: KFP keeps no log of {stage or 'its pods'}; ask the cluster: "
            + kubectl_logs(run_id, stage, kfp.endpoint.namespace)
        )


def kubectl_logs(run_id: str, stage: str, namespace: str) -> str:
    """The command that shows the same from the cluster itself."""
    chosen = f",{STAGE_LABEL}={stage.replace('_', '-')}" if stage else f",{STAGE_LABEL}"
    place = f" -n {namespace}" if namespace else ""
    return f"kubectl logs{place} -l pipeline/runid={run_id}{chosen} -c main --prefix --tail=-1"


def _pod_name(node: str) -> str:
    """Argo names a pod after its node with the template's name before the last part."""
    head, _, last = node.rpartition("-")
    return node if _EXECUTOR in node else f"{head}-{_EXECUTOR}-{last}"


def _tasks(run: Mapping[str, Any], stage: str) -> list[Record]:
    name = stage.replace("_", "-")
    details = (run.get("run_details") or {}).get("task_details") or ()
    return [task for task in details if task.get("display_name") == name]


def _worst(states: list[str]) -> str:
    """FAILED if one failed, else RUNNING if one is not done, else SUCCEEDED."""
    for state in ("FAILED", "CANCELED", "CANCELING", "RUNNING"):
        if state in states:
            return state
    unfinished = [state for state in states if state not in FINAL]
    if unfinished:
        return "RUNNING" if len(unfinished) < len(states) else unfinished[0]
    return "SUCCEEDED" if "SUCCEEDED" in states else states[0]


def _time(text: str | None) -> str:
    """KFP says 1970 for what has not happened."""
    return "" if not text or text.startswith(EPOCH) else text
