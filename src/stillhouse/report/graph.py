"""The lineage of a student as a drawing: boxes in the order of the pipeline, with arrows. Knows nodes, not stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from stillhouse.report.svg import Canvas, fit

_GAP, _HEIGHT = 34, 96


@dataclass(frozen=True, kw_only=True)
class Node:
    """``state`` is ok, bad (failed) or missing (did not run)."""

    kind: str
    title: str
    lines: tuple[str, ...] = ()
    state: str = "ok"


def lineage_graph(nodes: Sequence[Node], width: int) -> Markup:
    """Nodes in rows that run to and fro like a furrow, or one below the other where there is little room."""
    columns = 1 if width < 520 else 4
    gap = _GAP if columns > 1 else 22
    rows = -(-len(nodes) // columns)
    box = (width - 2 - gap * (columns - 1)) / columns
    canvas = Canvas(width, rows * (_HEIGHT + gap) - gap + 2)
    places = [_place(index, columns, box + gap, _HEIGHT + gap) for index in range(len(nodes))]
    for index, (node, (x, y)) in enumerate(zip(nodes, places, strict=True)):
        if index:
            _arrow(canvas, places[index - 1], (x, y), box, faint=node.state == "missing")
        _box(canvas, node, x, y, box)
    spoken = " → ".join(f"{node.kind} {node.title}" for node in nodes)
    return canvas.render(f"Lineage: {spoken}")


def _place(index: int, columns: int, across: float, down: float) -> tuple[float, float]:
    row, column = divmod(index, columns)
    return 1 + across * (column if row % 2 == 0 else columns - 1 - column), 1 + down * row


def _box(canvas: Canvas, node: Node, x: float, y: float, width: float) -> None:
    canvas.rect(x, y, width, _HEIGHT, f"node node-{node.state}", f"{node.kind}: {node.title}", 8)
    canvas.text(x + 14, y + 22, node.kind.upper(), "node-kind")
    canvas.text(x + 14, y + 43, fit(node.title, width - 24, 14), "node-title")
    for number, line in enumerate(node.lines[:2]):
        canvas.text(x + 14, y + 63 + 18 * number, fit(line, width - 24, 12.5), "note")


def _arrow(canvas: Canvas, start: tuple[float, float], end: tuple[float, float], width: float, *, faint: bool) -> None:
    cls = "arrow faint" if faint else "arrow"
    if start[1] == end[1]:
        forward = end[0] > start[0]
        x1, x2 = (start[0] + width, end[0]) if forward else (start[0], end[0] + width)
        y, back = start[1] + _HEIGHT / 2, -7 if forward else 7
        canvas.line(x1 + (4 if forward else -4), y, x2 + back / 1.75, y, cls)
        canvas.path([(x2 + back, y - 5), (x2 + back / 3.5, y), (x2 + back, y + 5)], cls)
        return
    x = end[0] + width / 2
    canvas.line(x, start[1] + _HEIGHT + 3, x, end[1] - 4, cls)
    canvas.path([(x - 5, end[1] - 8), (x, end[1] - 2), (x + 5, end[1] - 8)], cls)
