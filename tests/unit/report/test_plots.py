"""The drawings: ticks, positions, escaping, and extreme data."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from markupsafe import Markup

from stillhouse.report.graph import Node, lineage_graph
from stillhouse.report.plots import (
    NARROW,
    WIDE,
    Bar,
    Group,
    bar_plot,
    difference_cell,
    funnel_plot,
    interval_cell,
    loss_plot,
)
from stillhouse.report.svg import fit, log_ticks, ticks


@pytest.mark.parametrize(
    ("low", "high", "wanted", "expected"),
    [
        (0, 1, 4, [0, 0.5, 1.0]),
        (0, 1500, 8, [0, 200, 400, 600, 800, 1000, 1200, 1400]),
        (0, 42.6, 4, [0, 20, 40]),
        (-3, 7, 5, [-2, 0, 2, 4, 6]),
        (5, 5, 5, [5]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, wanted: int, expected: list[float]) -> None:
    assert ticks(low, high, wanted) == expected


def test_log_ticks_are_powers_of_ten_or_finer_where_there_are_few() -> None:
    assert log_ticks(0.012, 3.1) == pytest.approx([0.1, 1])
    assert log_ticks(0.2, 5) == pytest.approx([0.2, 0.5, 1, 2, 5])


def test_long_words_are_shortened_visibly() -> None:
    assert fit("short", 100) == "short"
    assert fit("a very long label indeed", 60) == "a very …"


def rects(svg: Markup, cls: str) -> list[dict[str, str]]:
    return [
        dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        for tag in re.findall(r"<rect [^>]*>", svg)
        if f'class="{cls}"' in tag
    ]


def test_bars_are_as_long_as_their_values_and_whiskers_stand_at_the_interval() -> None:
    bars = [
        Bar(label="a", kind="before", value=0.5, text="50", low=0.25, high=0.75),
        Bar(label="b", kind="after", value=1.0, text="100"),
    ]
    svg = bar_plot([Group(title="t", note="n", bars=bars)], WIDE)
    (half,), (full,) = rects(svg, "fill-before"), rects(svg, "fill-after")
    assert float(full["width"]) == pytest.approx(2 * float(half["width"]), abs=0.2)
    room, left = float(full["width"]), float(full["x"])
    whisker = re.findall(r'<line x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)" y2="[\d.]+" class="whisker"/>', svg)[0]
    assert [float(x) for x in whisker] == pytest.approx([left + room / 4, left + 3 * room / 4], abs=0.2)


def test_the_funnel_draws_what_is_kept_and_what_was_removed_to_one_scale() -> None:
    rows = [
        {"step": "traces", "kept": 200, "removed": 0, "reason": ""},
        {"step": "verified", "kept": 150, "removed": 50, "reason": "wrong_answer"},
    ]
    svg = funnel_plot(rows)
    kept, (lost,) = rects(svg, "fill-after"), rects(svg, "fill-lost")
    assert float(kept[1]["width"]) == pytest.approx(0.75 * float(kept[0]["width"]), abs=0.2)
    assert float(lost["width"]) == pytest.approx(0.25 * float(kept[0]["width"]), abs=0.2)
    assert "−50 wrong answer" in svg


def test_loss_curves_use_a_log_axis_only_where_the_loss_falls_far() -> None:
    far = [{"step": 1, "loss": 3.0}, {"step": 100, "loss": 0.01}]
    near = [{"step": 1, "loss": 3.0}, {"step": 100, "loss": 2.0}]
    assert "loss (log scale)" in loss_plot({"student": far})
    assert "log scale" not in loss_plot({"student": near})
    assert loss_plot({"student": far, "control": near}).count('class="curve') == 4  # two curves, two legend keys


@pytest.mark.parametrize(
    "svg",
    [
        funnel_plot([]),
        funnel_plot([{"step": "traces", "kept": 0, "removed": 0, "reason": ""}], NARROW),
        loss_plot({}),
        loss_plot({"student": []}),
        loss_plot({"student": [{"step": 1, "loss": 0.0}]}),
        loss_plot({"student": [{"step": 5, "loss": 1.0}, {"step": 6, "loss": 1.0}]}, NARROW),
        bar_plot([], WIDE),
        bar_plot(
            [Group(title="t", note="", bars=[Bar(label="a", kind="after", value=1.7, text="", low=-0.2, high=2.0)])],
            NARROW,
        ),
        interval_cell(0.0, [0.0, 0.03], reference=1.2),
        difference_cell(0.0, [0.0, 0.0], None, passed=False),
        lineage_graph([], WIDE),
        lineage_graph([Node(kind="a", title="<b> & 'c'", lines=("x" * 300,))] * 9, NARROW),
    ],
)
def test_extreme_data_still_gives_a_valid_drawing_with_a_label(svg: Markup) -> None:
    root = ET.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert "nan" not in svg
    for element in root.iter():
        assert float(element.get("width") or 0) >= 0


def test_text_in_drawings_is_escaped() -> None:
    bars = [Bar(label="<script>", kind="after", value=1, text="a & b")]
    svg = bar_plot([Group(title='"quoted" <b>', note="<i>", bars=bars)], WIDE)
    assert "<script>" not in svg
    assert "<i>" not in svg
    ET.fromstring(svg)


def test_a_standalone_drawing_carries_its_own_colours_and_no_date() -> None:
    rows = [{"step": "traces", "kept": 2, "removed": 0, "reason": ""}]
    svg = funnel_plot(rows, standalone=True)
    assert 'xmlns="http://www.w3.org/2000/svg"' in svg
    assert "prefers-color-scheme" in svg
    assert svg == funnel_plot(rows, standalone=True)


def test_lineage_rows_run_to_and_fro_and_stack_on_a_phone() -> None:
    nodes = [Node(kind=f"k{n}", title=f"t{n}") for n in range(8)]

    def corners(width: int) -> list[tuple[float, float]]:
        return [(float(box["x"]), float(box["y"])) for box in rects(lineage_graph(nodes, width), "node node-ok")]

    wide, narrow = corners(WIDE), corners(NARROW)
    assert wide[3][0] == wide[4][0]
    assert wide[0][0] == wide[7][0]
    assert wide[4][1] > wide[3][1]
    assert len({x for x, _ in narrow}) == 1


def test_views_of_empty_details_are_none() -> None:
    from stillhouse.report.views import evaluation, gate, teachers, traces, training

    empty: dict[str, Any] = {}
    found = [teachers.ranking(empty), traces.funnel(empty), traces.generation([]), training.training(empty)]
    assert [*found, evaluation.evaluation(empty), gate.gate(empty, empty)] == [None] * 6
