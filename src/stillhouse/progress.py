"""Progress of long work, told as events. Knows neither terminals nor KFP.

A stage calls ``step`` and ``say``; who listens decides how it looks. With ``STILLHOUSE_EVENTS`` set (the local
launcher sets it, because KFP's local runner swallows the stage's own output) events are appended to that file
as JSON lines; otherwise they are plain lines on stderr, at most one a second for each stage.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillhouse.errors import printable

EVENTS_ENV = "STILLHOUSE_EVENTS"
_INTERVAL_S = 1.0
_EVENT_INTERVAL_S = 0.1


@dataclass
class Progress:
    """Progress of one stage; ``part`` tells shards apart."""

    stage: str
    part: str = ""
    _last_s: float = field(default=0.0, repr=False)

    def step(self, done: int, total: int, note: str = "") -> None:
        """``done`` of ``total`` units are finished. Rate-limited, except for the last."""
        now = time.monotonic()
        interval = _EVENT_INTERVAL_S if os.environ.get(EVENTS_ENV) else _INTERVAL_S
        if done < total and now - self._last_s < interval:
            return
        self._last_s = now
        self._emit({"kind": "step", "done": done, "total": total, "note": note}, f"{done}/{total} {note}".rstrip())

    def say(self, text: str) -> None:
        """One line that people should read."""
        self._emit({"kind": "say", "text": text}, text)

    def finish(self, text: str, seconds: float) -> None:
        """The stage ended well; ``text`` is its one-line result."""
        self._emit({"kind": "finish", "text": text, "seconds": seconds}, f"{text} ({seconds:.1f} s)")

    def fail(self, text: str, exit_code: int) -> None:
        """The stage ended with an error of the tree. Without a listener the boundary prints it itself."""
        if os.environ.get(EVENTS_ENV):
            self._emit({"kind": "error", "text": text, "exit_code": exit_code}, text)

    def _emit(self, event: dict[str, Any], line: str) -> None:
        target = os.environ.get(EVENTS_ENV)
        if not target:
            name = f"{self.stage}[{self.part}]" if self.part else self.stage
            print(printable(f"{name}: {line}"), file=sys.stderr, flush=True)
            return
        payload = {"stage": self.stage, "part": self.part, **event}
        with Path(target).open("ab", buffering=0) as stream:
            stream.write(json.dumps(payload).encode() + b"\n")
