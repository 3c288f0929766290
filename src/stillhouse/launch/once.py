"""Nothing twice: find or create, also when the answer to the creation was lost. Knows no recipe.

KFP has unique names for experiments, pipelines and versions, and none for runs: two runs may share a display name. So
a run is looked for by its name before it is created, after every failure that may have created it, and once more
afterwards: if two commands have raced, both keep the older run and the younger one is terminated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stillhouse.errors import StillhouseError, TransientError
from stillhouse.launch.answers import Exists, NotSent
from stillhouse.launch.client import Kfp

Record = dict[str, Any]
FINAL = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@dataclass(frozen=True)
class Found:
    """A thing at the server, and whether it is new. ``doubles`` are runs of the same name that were terminated."""

    record: Record
    created: bool
    doubles: tuple[str, ...] = field(default=())


def find_or_create(kfp: Kfp, find: Callable[[], Record | None], create: Callable[[], Record]) -> Found:
    """The thing that ``find`` finds, made by ``create`` where it is missing; for things whose names are unique.

    Raises:
        RecipeError, TransientError: as ``Kfp`` does.
    """
    found = find()
    for tried in range(kfp.tries):
        if found is not None:
            return Found(found, created=tried > 0)
        try:
            return Found(create(), created=True)
        except Exists:
            found = find()
            if found is None:
                raise
            return Found(found, created=False)
        except TransientError as error:
            failure = error
            kfp.pause(tried, error)
        found = find()
    if found is not None:
        return Found(found, created=True)
    raise failure


def start_run(kfp: Kfp, body: Record, *, settle_s: float = 10.0) -> Found:
    """The run with ``body``'s display name in its experiment, started where there is none.

    Args:
        kfp: the connection.
        body: a V2beta1Run.
        settle_s: how long to look, in seconds, for a run whose creation got no answer before it is tried again.

    Raises:
        RecipeError, TransientError: as ``Kfp`` does; after a TransientError, the same call finds what was left.
    """
    before = _named(kfp, body)
    if before:
        return Found(before[0], created=False)
    failure: TransientError | None = None
    for tried in range(kfp.tries):
        try:
            made = kfp.create_run(body)
        except TransientError as error:
            failure = error
            if _appeared(kfp, body, tried, error, 0.0 if isinstance(error, NotSent) else settle_s):
                return _only_one(kfp, body, "")
        else:
            return _only_one(kfp, body, str(made["run_id"]))
    assert failure is not None
    raise failure


def _named(kfp: Kfp, body: Record) -> list[Record]:
    """Runs of this name in this experiment, oldest first; their order is the same for everybody who looks."""
    runs = kfp.find_runs(body["display_name"], experiment_id=body["experiment_id"])
    return sorted(runs, key=lambda run: (run["created_at"], run["run_id"]))


def _appeared(kfp: Kfp, body: Record, tried: int, error: TransientError, settle_s: float) -> bool:
    """Whether a run came into being after all; waits before it says no."""
    ends = time.monotonic() + settle_s
    while True:
        if _named(kfp, body):
            return True
        kfp.pause(tried, error)
        if time.monotonic() >= ends:
            return bool(_named(kfp, body))


def _only_one(kfp: Kfp, body: Record, made: str) -> Found:
    """Keep the oldest run of this name; terminate those that a race or a late answer has left beside it."""
    runs = _named(kfp, body)
    if not runs:  # a list that lags behind: what was made is there all the same
        return Found(kfp.get_run(made), created=True)
    kept, *others = runs
    doubles = []
    for run in others:
        if run.get("state") not in FINAL:
            doubles.append(str(run["run_id"]))
            try:
                kfp.terminate_run(str(run["run_id"]))
            except StillhouseError:  # its own command terminates it as well
                continue
    return Found(kept, created=made in ("", str(kept["run_id"])), doubles=tuple(doubles))
