"""What may go wrong with an answer: refused, late, lost, doubled, never. Knows operations by name only."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Literal

Kind = Literal["fail", "delay", "drop_request", "drop_answer", "never", "twice"]


@dataclass
class Fault:
    """One thing that will go wrong, ``times`` times; ``operation`` "*" means whatever comes next."""

    operation: str
    kind: Kind
    times: int = 1
    status: int = 503
    message: str = ""
    retry_after: str = ""
    seconds: float = 0.0


class Faults:
    """The faults that were ordered, in order."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._waiting.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def take(self, operation: str) -> Fault | None:
        """The next fault for ``operation``; it is used up."""
        with self._lock:
            for fault in self._waiting:
                if fault.operation in (operation, "*"):
                    fault.times -= 1
                    if fault.times <= 0:
                        self._waiting.remove(fault)
                    return fault
        return None
