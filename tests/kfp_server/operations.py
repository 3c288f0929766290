"""What each operation does, and who may ask for it. Knows the state and the tokens, no sockets."""

from __future__ import annotations

import json
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import TYPE_CHECKING, Any

from tests.kfp_server.state import Refused, check_name, invalid, missing, page, parse_package

if TYPE_CHECKING:
    from tests.kfp_server.server import KfpServer

Arguments = dict[str, str]


def perform(
    server: KfpServer, operation: str, given: Arguments, request: tuple[Message, bytes], token: str
) -> dict[str, Any] | str:
    """The answer to ``operation``; raises ``Refused`` for anything but 200."""
    if operation == "get_healthz":
        return {"multi_user": True} if server.multi_user else {}
    headers, raw = request
    body: dict[str, Any] = {}
    if operation.startswith("create"):
        try:
            body = json.loads(raw)
        except ValueError as error:
            raise invalid(f"invalid JSON: {error}") from error
    _authorise(server, _namespace(server, operation, given, body), token)
    if operation.startswith("upload"):
        return _upload(server, operation, given, _uploaded(headers, raw))
    kind = operation.rpartition("_")[2]
    if operation.startswith("create"):
        return dict(getattr(server.state, operation)(body))
    if operation.startswith("list"):
        return _list(server, operation, given)
    if operation == "read_log":
        return _log(server, given)
    if operation == "get_pipeline_by_name":
        return _by_name(server, given)
    return _one(server, operation, kind, given)


def _namespace(server: KfpServer, operation: str, given: Arguments, body: dict[str, Any]) -> str:
    """The namespace that a request is about; "" where it names none."""
    state = server.state
    if given.get("run_id"):
        return state.namespace_of("runs", given["run_id"])
    if given.get("experiment_id") or body.get("experiment_id"):
        return state.namespace_of("experiments", given.get("experiment_id") or body["experiment_id"])
    pipeline = given.get("pipeline_id") or given.get("pipelineid")
    if pipeline:
        return state.namespace_of("pipelines", pipeline)
    return str(given.get("namespace") or body.get("namespace") or "")


def _authorise(server: KfpServer, namespace: str, token: str) -> None:
    if not server.multi_user:
        return
    if not any(token in tokens for tokens in server.namespaces.values()):
        raise Refused(401, 16, "Request header error: there is no user identity header")
    if not namespace:
        raise invalid("Namespace cannot be empty in multi-user mode")
    if token not in server.namespaces.get(namespace, set()):
        raise Refused(403, 7, f"User is not authorized with reason: no access to namespace {namespace}")


def _uploaded(headers: Message, raw: bytes) -> str:
    """The text of the form's file."""
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    for part in BytesParser(policy=HTTP).parsebytes(head + raw).walk():
        if part.get_param("name", header="content-disposition") == "uploadfile":
            if not str(part.get_filename()).endswith((".yaml", ".yml")):
                raise invalid("Failed to read a pipeline spec file")
            return bytes(part.get_payload(decode=True)).decode("utf-8")
    raise invalid("Failed to read pipeline from file")


def _upload(server: KfpServer, operation: str, given: Arguments, text: str) -> dict[str, Any]:
    spec = parse_package(text)
    name = given.get("name") or given.get("display_name") or ""
    check_name(name)
    description = given.get("description", "")
    if operation == "upload_pipeline_version":
        if not given.get("pipelineid"):
            raise invalid("Failed to create a pipeline version")
        return server.state.create_version(given["pipelineid"], name, description, spec)
    record = server.state.create_pipeline(
        {"name": name, "description": description, "namespace": given.get("namespace", "")}
    )
    server.state.create_version(record["pipeline_id"], name, description, spec)
    return record


def _list(server: KfpServer, operation: str, given: Arguments) -> dict[str, Any]:
    state = server.state
    if operation == "list_pipeline_versions":
        rows = [item for item in state.versions.values() if item["pipeline_id"] == given["pipeline_id"]]
        return page(rows, given, "pipeline_versions")
    kind = operation.removeprefix("list_")
    records = list(getattr(state, kind).values())
    if kind == "runs":
        wanted = given.get("experiment_id")
        records = [item for item in records if not wanted or item["experiment_id"] == wanted]
        if not wanted and server.multi_user:
            records = [item for item in records if state.namespace_of("runs", item["run_id"]) == given["namespace"]]
    elif server.multi_user:
        records = [item for item in records if item["namespace"] == given["namespace"]]
    return page(records, given, kind)


def _by_name(server: KfpServer, given: Arguments) -> dict[str, Any]:
    for item in server.state.pipelines.values():
        if (item["name"], item["namespace"]) == (given["name"], given.get("namespace", "")):
            return dict(item)
    raise missing("Pipeline", given["name"])


def _log(server: KfpServer, given: Arguments) -> str:
    """KFP has sent its 200 before it looks for the pod: what is wrong stands in the text."""
    text = server.state.logs.get(given["node_id"])
    if text is None:
        what = f"Failed to read logs for run {given['run_id']}: pods {given['node_id']!r} not found"
        return json.dumps({"error_message": what, "error_details": what})
    return text


def _one(server: KfpServer, operation: str, kind: str, given: Arguments) -> dict[str, Any]:
    state = server.state
    verb = operation.partition("_")[0]
    table = {"version": "versions"}.get(kind, f"{kind}s")
    key = given.get("pipeline_version_id") or given.get(f"{kind}_id", "")
    record = state.get(table, key)
    if verb == "get":
        return record
    if verb == "delete":
        del getattr(state, table)[key]
    elif verb in ("archive", "unarchive"):
        getattr(state, table)[key]["storage_state"] = "ARCHIVED" if verb == "archive" else "AVAILABLE"
    else:
        getattr(state, operation)(key)
    return {}
