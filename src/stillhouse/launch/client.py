"""Kubeflow Pipelines through ``kfp.Client``: the few calls that submitting needs, with bounds on time and clear errors.

The published client waits without end, repeats requests on its own, prints, and writes into the home folder; here every
request has a deadline, is repeated only where that is harmless, and speaks by raising. Answers are plain dicts in the
API's own field names. Knows runs and pipelines, not recipes.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from stillhouse.errors import RecipeError, TransientError
from stillhouse.launch.answers import Throttled, bad_answer, looks_like_html, no_answer, not_the_api
from stillhouse.launch.endpoint import Endpoint

Record = dict[str, Any]
T = TypeVar("T")
CONNECT_TIMEOUT_S = 5.0
PAGE = 100
_MAX_WAIT_S = 60.0


class Kfp:
    """An open connection.

    Args:
        endpoint: which server, as whom.
        timeout_s: deadline of one request, in seconds.
        tries: how often a request that may be repeated is sent at most.
        pause_s: first pause between two tries; doubles, with jitter, unless the server names one.
    """

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = 30.0, tries: int = 5, pause_s: float = 0.5) -> None:
        self.endpoint = endpoint
        self.timeout_s, self.tries, self.pause_s = timeout_s, tries, pause_s
        endpoint.check_files()
        self._client = _connect(endpoint)

    # Reading: repeated until it works or the tries are used up.

    def healthz(self) -> Record:
        """Whether it is there, and whether it has several users."""
        return self._read("health", self._client.healthzs.healthz_service_get_healthz)

    def get_run(self, run_id: str) -> Record:
        run = self._read(f"run {run_id}", self._client.runs.run_service_get_run, run_id)
        return self._with(run, "run_id")

    def find_experiment(self, name: str) -> Record | None:
        options = self._scope()
        rows = self._all(self._client.experiments.experiment_service_list_experiments, "experiments", name, **options)
        return next(rows, None)

    def find_pipeline(self, name: str) -> Record | None:
        options = self._scope()
        return next(
            self._all(self._client.pipelines.pipeline_service_list_pipelines, "pipelines", name, **options), None
        )

    def find_version(self, pipeline_id: str, name: str) -> Record | None:
        call = self._client.pipelines.pipeline_service_list_pipeline_versions
        return next(self._all(call, "pipeline_versions", name, pipeline_id=pipeline_id), None)

    def find_runs(self, name: str = "", *, experiment_id: str = "", like: str = "") -> Iterator[Record]:
        """Runs, newest first: with this display name, or with ``like`` somewhere in it, or all."""
        options = {"experiment_id": experiment_id} if experiment_id else self._scope()
        call = self._client.runs.run_service_list_runs
        return self._all(call, "runs", name, like=like, sort_by="created_at desc", **options)

    def log(self, run_id: str, node_id: str) -> str | None:
        """What the pod of a node has printed; None where KFP no longer has it.

        The endpoint is the API server's own and not in its published client.
        """
        path = f"/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log"
        api = self._client._run_api.api_client
        options = {"response_type": "str", "auth_settings": ["Bearer"]}
        data = self._repeat(lambda: self._send(f"log of {node_id}", api.call_api, (path, "GET"), options))
        text = data.decode("utf-8", "replace")
        # KFP answers 200 before it looks; a failure is a JSON object behind what there was.
        _, found, told = text.rpartition('{"error_message":')
        return None if found and "error_details" in told else text

    # Writing: sent once; whoever calls looks whether a failure has left something behind.

    def create_experiment(self, name: str, description: str) -> Record:
        body = {"display_name": name, "description": description, **self._scope()}
        call = self._client.experiments.experiment_service_create_experiment
        return self._with(self._once(f"experiment {name}", call, body), "experiment_id")

    def create_pipeline(self, name: str, description: str) -> Record:
        body = {"name": name, "display_name": name, "description": description, **self._scope()}
        call = self._client.pipelines.pipeline_service_create_pipeline
        return self._with(self._once(f"pipeline {name}", call, body), "pipeline_id")

    def upload_version(self, pipeline_id: str, name: str, description: str, text: str) -> Record:
        """Upload a compiled pipeline as a version."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            path.write_text(text, encoding="utf-8")
            call = self._client.pipeline_uploads.upload_pipeline_version
            options = {"name": name, "pipelineid": pipeline_id, "description": description}
            data = self._send(f"pipeline version {name}", call, (str(path),), options)
            return self._with(self._json(data), "pipeline_version_id")

    def create_run(self, body: Record) -> Record:
        """Start a run; ``body`` is a V2beta1Run."""
        run = self._once(f"run {body['display_name']}", self._client.runs.run_service_create_run, body)
        return self._with(run, "run_id")

    def terminate_run(self, run_id: str) -> None:
        self._once(f"run {run_id}", self._client.runs.run_service_terminate_run, run_id)

    def retry_run(self, run_id: str) -> None:
        self._once(f"run {run_id}", self._client.runs.run_service_retry_run, run_id)

    def _scope(self) -> dict[str, str]:
        return {"namespace": self.endpoint.namespace} if self.endpoint.namespace else {}

    def _all(
        self, call: Callable[..., Any], kind: str, name: str = "", *, like: str = "", **options: Any
    ) -> Iterator[Record]:
        """Every record of a list, page after page; with display name ``name``, or with ``like`` in it."""
        if name or like:
            predicate = {"operation": "EQUALS" if name else "IS_SUBSTRING", "key": "display_name"}
            options["filter"] = json.dumps({"predicates": [{**predicate, "string_value": name or like}]})
        while True:
            answer = self._read(kind.replace("_", " "), call, page_size=PAGE, **options)
            yield from answer.get(kind) or ()
            token = answer.get("next_page_token")
            if not token:
                return
            options["page_token"] = token

    def _read(self, what: str, call: Callable[..., Any], *args: Any, **options: Any) -> Record:
        return self._repeat(lambda: self._once(what, call, *args, **options))

    def _repeat(self, ask: Callable[[], T]) -> T:
        for left in reversed(range(self.tries)):
            try:
                return ask()
            except TransientError as error:
                if not left:
                    raise
                self.pause(self.tries - left - 1, error)
        raise AssertionError("unreachable")

    def pause(self, tried: int, error: TransientError) -> None:
        """Wait before the next try: as long as the server asks for, else longer every time."""
        named = error.after_s if isinstance(error, Throttled) else None
        wait = named if named is not None else self.pause_s * 2**tried * (0.5 + random.random())
        time.sleep(min(wait, _MAX_WAIT_S))

    def _once(self, what: str, call: Callable[..., Any], *args: Any, **options: Any) -> Record:
        return self._json(self._send(what, call, args, options))

    def _send(self, what: str, call: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> bytes:
        """One request; the body of its answer.

        Raises:
            RecipeError, TransientError: see ``launch.answers``.
        """
        import kfp_server_api  # type: ignore[import-untyped]
        import urllib3

        bounds = {"_request_timeout": (CONNECT_TIMEOUT_S, self.timeout_s), "_preload_content": False}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return bytes(call(*args, **options, **bounds).data)
        except kfp_server_api.ApiException as error:
            after = (error.headers or {}).get("Retry-After") or ""
            raise bad_answer(self.endpoint, error.status, error.body, after, what) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise no_answer(self.endpoint, error) from error

    def _with(self, record: Record, key: str) -> Record:
        """``record``, which must be what was asked for."""
        if not record.get(key):
            raise TransientError(f"{self.endpoint.url}: the answer has no {key}; try again")
        return record

    def _json(self, data: bytes) -> Record:
        if looks_like_html(data):
            raise not_the_api(self.endpoint)
        try:
            told = json.loads(data or b"{}")
        except ValueError as error:
            raise TransientError(f"{self.endpoint.url}: the answer broke off; try again") from error
        if not isinstance(told, dict):
            raise not_the_api(self.endpoint)
        return told


def _connect(endpoint: Endpoint) -> Any:
    """A ``kfp.Client`` that asks nobody, prints nothing and leaves the home folder alone while it is made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kfp
        import urllib3
        from kfp.client import ServiceAccountTokenVolumeCredentials

        class Client(kfp.Client):  # type: ignore[misc]
            def _load_config(self, *args: Any, **options: Any) -> Any:
                config = super()._load_config(*args, **options)
                config.retries = urllib3.Retry(
                    connect=0, read=0, redirect=0, status=0, other=0,
                    raise_on_redirect=False, respect_retry_after_header=False,
                )  # fmt: skip
                return config

            def _load_context_setting_or_default(self) -> None:
                # Not ~/.config/kfp/context.json: what is submitted where must not depend on an earlier command.
                self._context_setting = {"namespace": endpoint.namespace or "none"}

        credentials = ServiceAccountTokenVolumeCredentials(endpoint.token_file) if endpoint.token_file else None
        try:
            client = Client(
                host=endpoint.url, namespace=endpoint.namespace or "none", credentials=credentials,
                ssl_ca_cert=endpoint.ca_file or None, verify_ssl=True,
            )  # fmt: skip
        except OSError as error:
            raise RecipeError(f"{endpoint.ca_file or endpoint.token_file}: cannot be used ({error})") from error
    # An answer that a proxy sends twice must not be taken for that of the next request: each has its own connection.
    client._run_api.api_client.set_default_header("Connection", "close")
    return client
