"""Replies that were paid for are kept: asked once, found again by any later run. Knows requests, no problems.

``<workspace>/replies/<voice>/`` holds the replies of one *voice*: a model's content, a prompter and a sampling. A
batch is written under a temporary name and renamed into place, so that a kill loses seconds of work at most and two
runs may write side by side. The student before training and the teacher have the same voice
in every run, whatever the learning rate: they are measured once.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stillhouse.digest import sha256_json
from stillhouse.errors import StillhouseError, TransientError
from stillhouse.models.requests import ChatRequest, Reply

MAX_ERROR_SHARE = 0.05
"""A measurement with a larger share of failed requests is none. Below it they count as wrong."""
_FILE_REPLIES = 64
_FILE_INTERVAL_S = 2.0
Source = Callable[[Sequence[ChatRequest]], Iterable[list[Reply]]]
"""Answers requests in any order, in batches as they are done."""


def voice_folder(root: Path, identity: str, *settings: Any) -> Path:
    """The folder of a voice: ``identity`` is the model's content, ``settings`` are JSON values that shape replies."""
    return root / "replies" / sha256_json([identity, *settings])[:32]


def stored(folder: Path) -> dict[str, Reply]:
    """Replies of a voice by key. A file that is no reply list (a disk's damage) is left out and asked for again."""
    found: dict[str, Reply] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            found.update((row["key"], Reply(**row)) for row in rows)
        except (ValueError, TypeError, KeyError):
            path.unlink(missing_ok=True)
    return found


def ask(
    source: Source,
    requests: Sequence[ChatRequest],
    folder: Path,
    on_done: Callable[[int], None],
    failure: type[StillhouseError] = TransientError,
) -> list[Reply]:
    """The reply to each request, in order: from ``folder`` where it is known, else from ``source``, and then kept.

    Failed requests are returned but not kept, so that the next run tries them again. ``source`` is not touched when
    everything is known. ``on_done`` hears how many replies there are so far.

    Raises:
        StillhouseError: ``failure``, when more than ``MAX_ERROR_SHARE`` of the requests failed; what arrived is kept.
    """
    known = stored(folder)
    missing = [request for request in requests if request.key not in known]
    on_done(len(requests) - len(missing))
    done = len(requests) - len(missing)
    with _Shelf(folder) as shelf:
        for batch in source(missing) if missing else ():
            # Nothing but silence is a fault of the server's, which must not be remembered as an answer.
            if any(not reply.is_empty for reply in batch):
                shelf.add([reply for reply in batch if not reply.error])
            known.update((reply.key, reply) for reply in batch)
            done += len(batch)
            on_done(done)
    replies = [known.get(request.key) or _silent(request.key) for request in requests]
    failures = [reply for reply in replies if reply.error]
    if len(failures) > MAX_ERROR_SHARE * len(requests):
        raise failure(
            f"{len(failures)} of {len(requests)} requests got no reply (first: {failures[0].error}); "
            "mend that and run again, the other replies are kept"
        )
    return replies


def _silent(key: str) -> Reply:
    return Reply(key=key, finish_reason="error", error="no reply")


class _Shelf:
    """Writes replies to files of a sensible size: servers answer one by one, and a file for each would be many."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[Reply] = []
        self._last_s = time.monotonic()

    def __enter__(self) -> _Shelf:
        return self

    def __exit__(self, *_error: object) -> None:
        self._write()

    def add(self, replies: Sequence[Reply]) -> None:
        self._waiting.extend(replies)
        if len(self._waiting) >= _FILE_REPLIES or time.monotonic() - self._last_s > _FILE_INTERVAL_S:
            self._write()

    def _write(self) -> None:
        batch, self._waiting, self._last_s = self._waiting, [], time.monotonic()
        if not batch:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"{sha256_json(sorted(reply.key for reply in batch))[:24]}.json"
        partial = self._folder / f".{target.name}.{os.getpid()}.partial"
        try:
            with partial.open("w", encoding="utf-8") as stream:
                json.dump([asdict(reply) for reply in batch], stream)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
