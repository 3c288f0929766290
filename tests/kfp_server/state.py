"""The records behind the API: experiments, pipelines, versions, runs. Thread-safe; knows no HTTP.

Follows what Kubeflow Pipelines 2.17's API server does: names are unique among pipelines and versions but not among
runs, times that have not come are 1970, namespaces are required where the installation has several users.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any

Record = dict[str, Any]
NEVER = "1970-01-01T00:00:00Z"
FINAL = {"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"}
_OPERATIONS = {1: "EQUALS", 2: "NOT_EQUALS", 9: "IS_SUBSTRING"}


class Refused(Exception):
    """An answer that is not 200: HTTP status, gRPC code, message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def invalid(message: str) -> Refused:
    return Refused(400, 3, message)


def missing(what: str, name: str) -> Refused:
    return Refused(404, 5, f"{what} {name} not found")


class State:
    """Everything that the server remembers."""

    def __init__(self, *, multi_user: bool) -> None:
        self.multi_user = multi_user
        self.lock = RLock()
        self.experiments: dict[str, Record] = {}
        self.pipelines: dict[str, Record] = {}
        self.versions: dict[str, Record] = {}
        self.runs: dict[str, Record] = {}
        self.logs: dict[str, str] = {}
        self._ticks = 0

    def now(self) -> str:
        """Every record has its own second, so that sorting by time is exact."""
        self._ticks += 1
        when = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=self._ticks)
        return when.isoformat().replace("+00:00", "Z")

    def namespace_of(self, kind: str, key: str) -> str:
        """The namespace that a record belongs to; missing records are refused."""
        with self.lock:
            if kind == "runs":
                return self.namespace_of("experiments", self.get("runs", key)["experiment_id"])
            return str(self.get(kind, key).get("namespace", ""))

    def get(self, kind: str, key: str) -> Record:
        record = getattr(self, kind).get(key)
        if record is None:
            raise missing(kind.rstrip("s").capitalize(), key)
        return dict(record) if kind != "runs" else record

    def create_experiment(self, body: Record) -> Record:
        name = body.get("display_name") or ""
        if not name:
            raise invalid("Experiment's name cannot be empty")
        namespace = body.get("namespace", "")
        same = (item["display_name"] == name and item["namespace"] == namespace for item in self.experiments.values())
        if any(same):
            raise Refused(409, 6, f"Failed to create a new experiment. The name {name} already exists")
        record = {
            "experiment_id": _id(),
            "display_name": name,
            "description": body.get("description", ""),
            "namespace": namespace,
            "created_at": self.now(),
            "last_run_created_at": NEVER,
            "storage_state": "AVAILABLE",
        }
        self.experiments[record["experiment_id"]] = record
        return dict(record)

    def create_pipeline(self, body: Record) -> Record:
        name = body.get("name") or body.get("display_name") or ""
        namespace = body.get("namespace", "")
        if not name:
            raise invalid("Pipeline's name cannot be empty")
        if any(item["name"] == name and item["namespace"] == namespace for item in self.pipelines.values()):
            raise Refused(409, 6, f"Failed to create a new pipeline. The name {name} already exists")
        record = {
            "pipeline_id": _id(),
            "name": name,
            "display_name": body.get("display_name") or name,
            "description": body.get("description", ""),
            "namespace": namespace,
            "created_at": self.now(),
        }
        self.pipelines[record["pipeline_id"]] = record
        return dict(record)

    def create_version(self, pipeline_id: str, name: str, description: str, spec: Record) -> Record:
        self.get("pipelines", pipeline_id)
        if any(item["pipeline_id"] == pipeline_id and item["name"] == name for item in self.versions.values()):
            raise Refused(409, 6, f"Failed to create a new pipeline version. The name {name} already exists")
        record = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": _id(),
            "name": name,
            "display_name": name,
            "description": description,
            "created_at": self.now(),
            "pipeline_spec": spec,
        }
        self.versions[record["pipeline_version_id"]] = record
        return dict(record)

    def create_run(self, body: Record) -> Record:
        if not body.get("display_name"):
            raise invalid("The run name is empty. Please specify a valid name")
        experiment = self.get("experiments", body.get("experiment_id") or self._default_experiment())
        reference = body.get("pipeline_version_reference") or {}
        spec = body.get("pipeline_spec")
        if reference:
            version = self.get("versions", reference.get("pipeline_version_id", ""))
            if version["pipeline_id"] != reference.get("pipeline_id"):
                raise invalid("The pipeline version does not belong to the pipeline")
            spec = version["pipeline_spec"]
        if spec is None:
            raise invalid("Failed to fetch a template with an invalid pipeline spec manifest")
        parameters = (body.get("runtime_config") or {}).get("parameters") or {}
        _check_parameters(spec, parameters)
        now = self.now()
        record = {
            "run_id": _id(),
            "experiment_id": experiment["experiment_id"],
            "display_name": body["display_name"],
            "description": body.get("description", ""),
            "service_account": body.get("service_account") or "pipeline-runner",
            "storage_state": "AVAILABLE",
            "state": "PENDING",
            "created_at": now,
            "scheduled_at": now,
            "finished_at": NEVER,
            "state_history": [{"update_time": now, "state": "PENDING"}],
            "runtime_config": {"parameters": parameters},
        }
        record |= {"pipeline_version_reference": reference} if reference else {"pipeline_spec": spec}
        self.runs[record["run_id"]] = record
        self.experiments[experiment["experiment_id"]]["last_run_created_at"] = now
        return record

    def move_run(self, run_id: str, state: str, error: str = "") -> None:
        """The run goes over into ``state``."""
        run = self.get("runs", run_id)
        now = self.now()
        run["state"] = state
        run["finished_at"] = now if state in FINAL else NEVER
        run["state_history"].append({"update_time": now, "state": state})
        run.pop("error", None)
        if error:
            run["error"] = {"code": 13, "message": error, "details": []}

    def terminate_run(self, run_id: str) -> None:
        if self.get("runs", run_id)["state"] in FINAL:
            raise invalid(f"Failed to terminate run {run_id}. Row not found or already in a final state")
        self.move_run(run_id, "CANCELING")

    def retry_run(self, run_id: str) -> None:
        run = self.get("runs", run_id)
        if run["state"] not in ("FAILED", "CANCELED"):
            raise Refused(500, 13, f"Failed to retry run {run_id} as it does not allow retries")
        self.move_run(run_id, "RUNNING")
        for task in run.get("run_details", {}).get("task_details", []):
            if task["state"] not in ("SUCCEEDED", "SKIPPED"):
                task.update(state="PENDING", end_time=NEVER)

    def set_task(self, run_id: str, name: str, state: str, *, pod: str = "", error: str = "") -> None:
        run = self.get("runs", run_id)
        tasks = run.setdefault("run_details", {"task_details": []})["task_details"]
        now = self.now()
        task = next((item for item in tasks if item["display_name"] == name), None)
        if task is None:
            task = {"run_id": run_id, "task_id": _id(), "display_name": name, "execution_id": str(len(tasks) + 1)}
            task |= {"create_time": now, "start_time": now, "end_time": NEVER}
            tasks.append(task)
        task["state"] = state
        task["end_time"] = now if state in FINAL else NEVER
        if pod:
            task["child_tasks"] = [{"pod_name": pod}]
        if error:
            task["error"] = {"code": 13, "message": error, "details": []}

    def _default_experiment(self) -> str:
        if self.multi_user:
            raise invalid("A run cannot have an empty experiment in multi-user mode")
        found = [key for key, item in self.experiments.items() if item["display_name"] == "Default"]
        return found[0] if found else str(self.create_experiment({"display_name": "Default"})["experiment_id"])


def page(records: Iterable[Record], query: dict[str, str], kind: str) -> Record:
    """One page of ``records``: filter, order, size and token as the API has them."""
    told = json.loads(base64.urlsafe_b64decode(query["page_token"])) if query.get("page_token") else {}
    condition = told.get("filter", query.get("filter", ""))
    keep = _predicate(condition)
    rows = [record for record in records if keep(record)]
    field, _, way = (told.get("sort_by") or query.get("sort_by") or "created_at").partition(" ")
    rows.sort(key=lambda record: str(record.get(field, "")), reverse=way == "desc")
    size = int(query.get("page_size") or 0) or 20
    start = told.get("start", 0)
    answer: Record = {kind: rows[start : start + size], "total_size": len(rows)}
    if start + size < len(rows):
        token = {"start": start + size, "filter": condition, "sort_by": f"{field} {way}".strip()}
        answer["next_page_token"] = base64.urlsafe_b64encode(json.dumps(token).encode()).decode()
    return {key: value for key, value in answer.items() if value}


def _predicate(text: str) -> Callable[[Record], bool]:
    if not text:
        return lambda record: True
    try:
        tree = json.loads(text)
        rows = [
            (_OPERATIONS.get(item["operation"], item["operation"]), item["key"], _value(item))
            for item in tree["predicates"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise invalid(f"Failed to parse filter {text!r}: {error}") from error
    unknown = {key for _, key, _ in rows} - {"display_name", "name", "state", "storage_state", "created_at"}
    if unknown or {operation for operation, _, _ in rows} - set(_OPERATIONS.values()):
        raise invalid(f"Invalid filter {text!r}")
    tests: dict[str, Callable[[str, str], bool]] = {
        "EQUALS": lambda have, want: have == want,
        "NOT_EQUALS": lambda have, want: have != want,
        "IS_SUBSTRING": lambda have, want: want in have,
    }
    return lambda record: all(tests[operation](str(record.get(key, "")), want) for operation, key, want in rows)


def _value(item: Record) -> str:
    return str(item["string_value"] if "string_value" in item else item["stringValue"])


def _check_parameters(spec: Record, parameters: Record) -> None:
    root = spec.get("pipeline_spec", spec)["root"]
    known = root.get("inputDefinitions", {}).get("parameters", {})
    if unknown := sorted(set(parameters) - set(known)):
        raise invalid(f"parameters {unknown} are not defined in the pipeline")
    given = set(parameters)
    needed = {name for name, item in known.items() if not item.get("isOptional") and "defaultValue" not in item}
    if lacking := sorted(needed - given):
        raise invalid(f"parameters {lacking} are required")
    wrong = {"NUMBER_INTEGER": (int, float), "STRING": str, "LIST": list, "STRUCT": dict}
    for name in sorted(given):
        if not isinstance(parameters[name], wrong.get(known[name]["parameterType"], object)):
            raise invalid(f"parameter {name} is not of type {known[name]['parameterType']}")


def parse_package(text: str) -> Record:
    """The specs of an uploaded YAML as the API gives them back; refuses what KFP's own protos do not accept."""
    import warnings

    import yaml
    from google.protobuf import json_format

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp.kubernetes import kubernetes_executor_config_pb2
        from kfp.pipeline_spec import pipeline_spec_pb2
    try:
        first, *others = [item for item in yaml.load_all(text, Loader=yaml.CSafeLoader) if item]
        pipeline = json_format.ParseDict(first, pipeline_spec_pb2.PipelineSpec())
        platform: Record = {}
        for item in others:
            platform.update(item)
        json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
        executors = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
        for config in executors.values():
            json_format.ParseDict(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    except (ValueError, yaml.YAMLError, json_format.ParseError) as error:
        raise invalid(f"Failed to parse the pipeline spec: {error}") from error
    unknown = set(executors) - set(first["deploymentSpec"]["executors"])
    if unknown or not pipeline.pipeline_info.name:
        raise invalid(f"unknown executors in the platform spec: {sorted(unknown)}")
    return {"pipeline_spec": first, "platform_spec": platform} if platform else dict(first)


def check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name) or len(name) > 127:
        raise invalid(f"invalid name {name!r}")


def _id() -> str:
    return str(uuid.uuid4())
