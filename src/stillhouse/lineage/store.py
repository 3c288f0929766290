"""The connection to MLflow: which one, how it is opened, and its failures in our words.

Importing this module costs seconds (it imports mlflow); ``tracking`` and the others import it when the first run is
opened. It knows runs, parameters, metrics and tags, and nothing of stages. All waiting is bounded: a server that does
not answer within seconds is reported at once, and an embedded database that another process is writing to is asked
again.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from stillhouse.errors import RecipeError, TransientError
from stillhouse.lineage.address import PROBE_TIMEOUT_S, no_answer, probe, redacted, tracking_uri
from stillhouse.workspace import Workspace

# MLflow reads some of these while it is imported. Its own defaults keep a stage waiting for minutes.
for _name, _value in {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}.items():
    os.environ.setdefault(_name, _value)

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking.client import MlflowClient  # noqa: E402

# MLflow logs migrations as INFO and a database that is busy for a moment as ERROR with a traceback.
logging.getLogger("mlflow").setLevel(os.environ.get("MLFLOW_LOGGING_LEVEL", "ERROR").upper())
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
logging.getLogger("alembic").setLevel(logging.WARNING)

BUSY_TRIES = 5
_TRANSIENT = {"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}
_REFUSED = {"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}
_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
T = TypeVar("T")
Point = tuple[str, float, int, int]
"""A metric's name, value, step and time in milliseconds."""


@dataclass(frozen=True)
class Store:
    """An open MLflow. ``embedded`` is the workspace's own database, the default on a laptop."""

    client: MlflowClient
    uri: str
    embedded: bool

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a method of the client.

        Raises:
            TransientError: MLflow does not answer, or its database stays locked.
            RecipeError: MLflow refuses the credentials.
        """
        for attempt in range(BUSY_TRIES):
            try:
                with translated(self.uri):
                    return function(*args, **kwargs)
            except TransientError as error:
                if "database is locked" not in str(error) or attempt == BUSY_TRIES - 1:
                    raise
                time.sleep(0.2 * 2**attempt)
        raise AssertionError("unreachable")

    def log(
        self,
        run_id: str,
        *,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log any number of metrics, parameters and tags in as few requests as MLflow's limits allow."""
        metrics = [Metric(name, value, when, step) for name, value, step, when in points]
        parameters = [Param(key, value) for key, value in (params or {}).items()]
        run_tags = [RunTag(key, value) for key, value in (tags or {}).items()]
        while metrics or parameters or run_tags:
            now = {
                "metrics": metrics[: _BATCH["metrics"] - 200],
                "params": parameters[: _BATCH["params"]],
                "tags": run_tags[: _BATCH["tags"]],
            }
            self.call(self.client.log_batch, run_id, synchronous=True, **now)
            metrics, parameters = metrics[len(now["metrics"]) :], parameters[len(now["params"]) :]
            run_tags = run_tags[len(now["tags"]) :]

    def log_dataset(self, run_id: str, *, name: str, digest: str, source: str, rows: int, context: str) -> None:
        """Record a dataset as an input of a run; MLflow keeps the first 36 characters of a digest."""
        dataset = Dataset(
            name=name[:500], digest=digest[:32], source_type="local", source=json.dumps({"uri": source}),
            schema=None, profile=json.dumps({"num_rows": rows}),
        )  # fmt: skip
        entry = DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
        self.call(self.client.log_inputs, run_id, [entry])

    def experiment(self, space: Workspace) -> str:
        """Id of the experiment that the environment names, made where it is missing."""
        if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return given
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or os.environ.get("STILLHOUSE_RECIPE_NAME") or "stillhouse"
        found = self.call(self.client.get_experiment_by_name, name)
        if found is None:
            location = (space.mlflow / "artifacts").as_uri() if self.embedded else None
            try:
                return str(self.call(self.client.create_experiment, name, artifact_location=location))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self.call(self.client.get_experiment_by_name, name)
        if found is None or found.lifecycle_stage != "active":
            raise RecipeError(
                f"MLflow experiment {name!r} was deleted; restore it or set MLFLOW_EXPERIMENT_NAME to another"
            )
        return str(found.experiment_id)


def connect(space: Workspace | None) -> Store:
    """Open the MLflow that the environment names, else the workspace's own.

    Raises:
        TransientError: it does not answer within seconds; says where and what to do.
    """
    uri = tracking_uri(space)
    if not os.environ.get("MLFLOW_TRACKING_URI") and space is not None:
        return _embedded(space, uri)
    probe(uri)
    with translated(uri), _impatient():
        client = MlflowClient(uri, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or uri)
        client.search_experiments(max_results=1)
    return Store(client, uri, embedded=False)


def _embedded(space: Workspace, uri: str) -> Store:
    """Open the workspace's database, making it under a lock and under another name: complete or absent."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database = space.mlflow / "mlflow.db"
    space.mlflow.mkdir(parents=True, exist_ok=True)
    with (space.mlflow / ".lock").open("w") as lock, translated(uri):
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.is_file():
            partial = database.with_name("mlflow.db.partial")
            partial.unlink(missing_ok=True)
            fresh = SqlAlchemyStore(f"sqlite:///{partial}", (space.mlflow / "artifacts").as_uri())
            fresh._dispose_engine()
            partial.rename(database)
        client = MlflowClient(uri, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or uri)
    return Store(client, uri, embedded=True)


@contextmanager
def _impatient() -> Iterator[None]:
    """The first request finds out whether an MLflow answers at all; it must not take the patience of the later ones."""
    before = {name: os.environ.get(name) for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT")}
    os.environ.update(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_HTTP_REQUEST_TIMEOUT=str(int(2 * PROBE_TIMEOUT_S)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """MLflow's and the network's failures as ours; what is neither (a bug, a missing entity) passes unchanged."""
    try:
        yield
    except MlflowException as error:
        if error.error_code in _REFUSED:
            raise RecipeError(
                f"MLflow at {redacted(uri)} refuses access ({redacted(str(error.message))}); "
                "check MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN"
            ) from error
        if error.error_code in _TRANSIENT:
            raise no_answer(uri, str(error.message)) from error
        raise
    except (ConnectionError, TimeoutError) as error:
        raise no_answer(uri, str(error)) from error
