"""The plots of the report: funnel, loss curves, bars with intervals. Values in, SVG out.

Every builder takes a ``width``: pages carry a wide and a narrow drawing and show the one that fits, because
text in a drawing that is merely scaled down cannot be read on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from stillhouse.report import formats
from stillhouse.report.svg import Canvas, fit, log_ticks, text_width, ticks

WIDE, NARROW = 976, 330
_PHONE = 520
_LOG_FROM = 20.0


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar; ``kind`` is its colour class (before, after, control, teacher), ``text`` what stands beside it."""

    label: str
    kind: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """Bars that belong together, under a title."""

    title: str
    note: str
    bars: Sequence[Bar]


def both(draw: Callable[[int], Markup]) -> Markup:
    """The wide and the narrow drawing; the style sheet shows one of them."""
    wide, narrow = draw(WIDE), draw(NARROW)
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(wide, narrow)


def funnel_plot(rows: Sequence[Mapping[str, Any]], width: int = WIDE, *, standalone: bool = False) -> Markup:
    """How many traces are left after each step, and what each step took away. ``rows`` as in the summary."""
    phone = width < _PHONE
    left, right, row_height = (0, 84, 50) if phone else (150, 330, 34)
    canvas = Canvas(width, row_height * len(rows) + 8)
    total = max([row["kept"] for row in rows] or [0], default=0) or 1
    room = width - left - right
    for index, row in enumerate(rows):
        top = index * row_height + (22 if phone else 6)
        kept, removed = room * row["kept"] / total, room * row["removed"] / total
        label = formats.words(row["step"])
        canvas.text(0, top - 6 if phone else top + 15, fit(label, left or room, 13), "label")
        canvas.rect(left, top, room, 22, "track")
        tip = f"{label}: {formats.count(row['kept'])} kept, {formats.count(row['removed'])} removed"
        canvas.rect(left, top, kept, 22, "fill-after", tip)
        if row["removed"]:
            canvas.rect(left + kept, top, max(removed, 1.5), 22, "fill-lost", f"{tip} ({row['reason']})", 0)
        _funnel_words(canvas, row, total, left + room + 10, top, phone)
    lost = sum(row["removed"] for row in rows)
    last = rows[-1]["kept"] if rows else 0
    spoken = f"Funnel: {formats.count(total)} traces, {formats.count(lost)} removed, {formats.count(last)} kept"
    return canvas.render(spoken, standalone=standalone)


def _funnel_words(canvas: Canvas, row: Mapping[str, Any], total: float, x: float, top: float, phone: bool) -> None:
    canvas.text(x, top + 15, formats.count(row["kept"]), "value")
    shift = max(46.0, text_width(formats.count(row["kept"]), 14) + 8)
    if not row["removed"]:
        if not phone:
            canvas.text(x + shift, top + 15, formats.share(row["kept"] / total), "note")
        return
    loss = f"−{formats.count(row['removed'])}"
    if phone:
        canvas.text(canvas.width - 2, top - 6, fit(f"{loss} {formats.words(row['reason'])}", 190), "loss", "end")
        return
    canvas.text(x + shift, top + 15, fit(f"{loss} {formats.words(row['reason'])}", canvas.width - x - shift), "loss")


def loss_plot(arms: Mapping[str, Sequence[Mapping[str, Any]]], width: int = WIDE) -> Markup:
    """Loss against optimizer steps, one line per arm; a logarithmic axis where the loss falls by 20 times or more."""
    points = {
        arm: [(float(row["step"]), float(row["loss"])) for row in history if row.get("loss") is not None]
        for arm, history in arms.items()
    }
    points = {arm: rows for arm, rows in points.items() if rows}
    height, left, right, top, bottom = 300, 52, 14, 34, 44
    canvas = Canvas(width, height)
    flat = [point for rows in points.values() for point in rows]
    if not flat:
        canvas.text(width / 2, height / 2, "no steps were recorded", "note", "middle")
        return canvas.render("Loss curves: no steps were recorded")
    scale, marks, words = _loss_axis([loss for _, loss in flat], top, height - bottom)
    low, high = min(step for step, _ in flat), max(step for step, _ in flat)
    low = 0.0 if low <= high / 10 else low

    def across(step: float) -> float:
        return left + (width - left - right) * (step - low) / ((high - low) or 1)

    for mark in marks:
        canvas.line(left, scale(mark), width - right, scale(mark), "grid")
        canvas.text(left - 8, scale(mark) + 4, f"{mark:g}", "tick", "end")
    for mark in ticks(low, high, 4 if width < _PHONE else 8):
        anchor = "end" if across(mark) > width - right - 14 else "middle"
        canvas.text(across(mark), height - bottom + 18, formats.count(mark), "tick", anchor)
    canvas.line(left, height - bottom, width - right, height - bottom, "axis")
    canvas.text((left + width - right) / 2, height - 6, "optimizer step", "note", "middle")
    canvas.text(0, 14, words, "note")
    for arm, rows in points.items():
        canvas.path([(across(step), scale(loss)) for step, loss in rows], f"curve stroke-{arm}")
        canvas.circle(across(rows[-1][0]), scale(rows[-1][1]), 3.5, f"fill-{arm}")
    _legend(canvas, list(points))
    ends = ", ".join(f"{_curve_name(arm)} {rows[0][1]:.3g} to {rows[-1][1]:.3g}" for arm, rows in points.items())
    return canvas.render(f"Loss curves: {ends}")


def _loss_axis(losses: Sequence[float], top: float, bottom: float) -> tuple[Callable[[float], float], list[float], str]:
    """Loss to y, the marks, and the axis title."""
    low, high = min(losses), max(losses)
    if low > 0 and high / low >= _LOG_FROM:
        start, end = math.log10(low), math.log10(high)
        return (
            lambda loss: bottom - (bottom - top) * (math.log10(loss) - start) / (end - start),
            log_ticks(low, high),
            "loss (log scale)",
        )
    low = min(0.0, low)
    high = high if high > low else low + 1
    return lambda loss: bottom - (bottom - top) * (loss - low) / (high - low), ticks(low, high), "loss"


def _curve_name(arm: str) -> str:
    return "student" if arm == "student" else formats.arm(arm)


def _legend(canvas: Canvas, arms: Sequence[str]) -> None:
    x = canvas.width - sum(text_width(_curve_name(arm), 12) + 34 for arm in arms)
    for arm in arms:
        canvas.line(x, 10, x + 18, 10, f"curve stroke-{arm}")
        canvas.text(x + 23, 14, _curve_name(arm), "note strong")
        x += text_width(_curve_name(arm), 12) + 34


def bar_plot(
    groups: Sequence[Group], width: int = WIDE, *, top: float = 1.0, tick: Callable[[float], str] = formats.share,
    label: str = "",
) -> Markup:  # fmt: skip
    """Horizontal bars with interval whiskers, grouped; the axis runs from 0 to ``top`` and is the same for all."""
    phone = width < _PHONE
    left, right, row_height, bar_height = (0, 6, 40, 14) if phone else (112, 158, 28, 18)
    title_height = 44 if phone else 34
    height = sum(title_height + row_height * len(group.bars) + 8 for group in groups) + 24
    canvas = Canvas(width, height)
    room = width - left - right

    def across(value: float) -> float:
        return left + room * max(0.0, min(value, top)) / top

    for mark in ticks(0, top, 4):
        canvas.line(across(mark), 24, across(mark), height - 22, "grid")
        anchor = "end" if phone and mark == top else "start" if phone and mark == 0 else "middle"
        canvas.text(across(mark), height - 6, tick(mark), "tick", anchor)
    y = 0.0
    for group in groups:
        canvas.rect(0, y, width, 24, "cover")
        canvas.heading(0, y + 17, group.title, fit(group.note, width - 22 - text_width(group.title, 15)))
        y += title_height
        for bar in group.bars:
            _bar(canvas, bar, y, bar_height, (left, across, phone))
            y += row_height
        y += 8
    return canvas.render(label or "; ".join(_spoken(group) for group in groups) or "nothing was measured")


def _bar(
    canvas: Canvas, bar: Bar, y: float, height: float, frame: tuple[float, Callable[[float], float], bool]
) -> None:
    left, across, phone = frame
    middle = y + height / 2
    if phone:
        canvas.text(0, y - 1, bar.label, "note strong")
        canvas.text(canvas.width, y - 1, bar.text, "value", "end")
        y, middle = y + 5, middle + 5
    else:
        canvas.text(left - 10, middle + 4, fit(bar.label, left - 10, 13), "note strong", "end")
        canvas.text(canvas.width - 150, middle + 4, bar.text, "value")
    canvas.rect(left, y, across(bar.value) - left, height, f"fill-{bar.kind}", f"{bar.label}: {bar.text}")
    if bar.low is not None and bar.high is not None:
        _whiskers(canvas, across(bar.low), across(bar.high), middle, height / 3)


def _whiskers(canvas: Canvas, low: float, high: float, y: float, reach: float) -> None:
    """Drawn twice, with a halo, so that it can be seen on the bar and beside it."""
    for cls in ("halo", "whisker"):
        canvas.line(low, y, high, y, cls)
        canvas.line(low, y - reach, low, y + reach, cls)
        canvas.line(high, y - reach, high, y + reach, cls)


def _spoken(group: Group) -> str:
    return f"{group.title}: " + ", ".join(f"{bar.label} {bar.text}" for bar in group.bars)


def interval_cell(
    value: float, pair: Sequence[float], *, kind: str = "teacher", reference: float | None = None, width: int = 170
) -> Markup:
    """A share with its interval on a line from 0 to 1, for a table cell; ``reference`` is a dashed mark."""
    canvas = Canvas(width, 22)
    room = width - 12

    def across(share: float) -> float:
        return 6 + room * max(0.0, min(share, 1.0))

    canvas.line(6, 11, 6 + room, 11, "grid")
    for mark in (0.0, 0.5, 1.0):
        canvas.line(across(mark), 7, across(mark), 15, "grid")
    if reference is not None:
        canvas.line(across(reference), 2, across(reference), 20, "reference")
    canvas.line(across(pair[0]), 11, across(pair[1]), 11, f"span stroke-{kind}")
    canvas.circle(across(value), 11, 4.5, f"dot fill-{kind}")
    return canvas.render(f"{formats.share(value)}, interval {formats.interval(pair)}", cls="cell")


def difference_cell(
    difference: float, pair: Sequence[float], threshold: float | None, *, passed: bool, width: int = 220
) -> Markup:
    """A difference with its interval against zero and against what was asked for; all in one unit."""
    canvas = Canvas(width, 34)
    marks = [0.0, difference, *pair, *([] if threshold is None else [threshold])]
    margin = 0.06 * ((max(marks) - min(marks)) or 1.0)
    low, high = min(marks) - margin, max(marks) + margin

    def across(value: float) -> float:
        return 10 + (width - 20) * (value - low) / (high - low)

    kind = "good" if passed else "bad"
    canvas.line(10, 22, width - 10, 22, "grid")
    canvas.line(across(0), 12, across(0), 32, "axis")
    canvas.text(across(0), 9, "0", "tick", "middle")
    if threshold is not None and abs(across(threshold) - across(0)) > 1:
        canvas.line(across(threshold), 12, across(threshold), 32, "reference")
        if abs(across(threshold) - across(0)) > 30:
            canvas.text(across(threshold), 9, "asked", "tick", "middle")
    canvas.line(across(pair[0]), 22, across(pair[1]), 22, f"span stroke-{kind}")
    canvas.circle(across(difference), 22, 4.5, f"dot fill-{kind}")
    outcome = "passed" if passed else "failed"
    return canvas.render(f"difference with its interval against zero and the threshold: {outcome}", cls="cell")
