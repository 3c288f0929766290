"""Progress and machine output. On a terminal bars, otherwise plain lines; knows no stage."""

from __future__ import annotations

import json
import sys
import time
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any

from stillhouse.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress

_PLAIN_INTERVAL_S = 5.0


class Format(StrEnum):
    """How results are printed on stdout."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def emit(value: Any, output: Format) -> None:
    """Machine output on stdout."""
    if output is Format.YAML:
        import yaml

        print(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), end="")
    else:
        print(json.dumps(value, indent=1, ensure_ascii=False))


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as aligned columns; the keys of the first row are the header."""
    if not rows:
        return "(nothing)"
    header = list(rows[0])
    cells = [["–" if row.get(key) is None else str(row[key]) for key in header] for row in rows]
    widths = [max(len(key), *(len(line[index]) for line in cells)) for index, key in enumerate(header)]
    lines = [[key.upper() for key in header], *cells]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def say(text: str = "") -> None:
    """Words for people."""
    print(printable(text), file=sys.stderr, flush=True)


class StageConsole:
    """Shows the events of a run: a bar per stage on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[str, tuple[int, int]]] = {}
        self._bars: dict[str, Any] = {}
        self._last_s: dict[str, float] = {}
        self._progress: Progress | None = None

    def __enter__(self) -> StageConsole:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (
                TextColumn("  {task.description:<17}"),
                BarColumn(bar_width=18),
                TextColumn("{task.fields[note]}", markup=False),
                TimeElapsedColumn(),
            )
            self._progress = Progress(*columns, console=Console(stderr=True))
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def hear(self, event: dict[str, Any]) -> None:
        """One event of ``stillhouse.progress``."""
        stage, part, kind = event["stage"], event["part"], event["kind"]
        done, total = 0, 0
        if kind == "step":
            parts = self._parts.setdefault(stage, {})
            parts[part] = (event["done"], event["total"])
            done, total = (sum(column) for column in zip(*parts.values(), strict=True))
            note = f"{done}/{total} {event['note']}".rstrip()
        else:
            note = event["text"]
            if kind == "finish" and event["seconds"]:
                note += f"  ({event['seconds']:.1f} s)"
        if self._progress:
            self._bar(stage, kind, done, total, note)
        else:
            self._line(f"{stage}[{part}]" if part else stage, kind, note)

    def _bar(self, stage: str, kind: str, done: int, total: int, note: str) -> None:
        assert self._progress
        if stage not in self._bars:
            self._bars[stage] = self._progress.add_task(stage, total=None, note="")
        bar = self._bars[stage]
        if kind == "step":
            self._progress.update(bar, completed=done, total=total, note=note)
        elif kind == "finish":
            self._progress.update(bar, completed=1, total=1, note=note)
            self._progress.stop_task(bar)
        else:
            self._progress.update(bar, note=note)

    def _line(self, name: str, kind: str, note: str) -> None:
        now = time.monotonic()
        if kind == "step" and now - self._last_s.get(name, 0.0) < _PLAIN_INTERVAL_S:
            return
        self._last_s[name] = now
        say(f"  {name:<19} {note}")
