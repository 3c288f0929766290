"""The evaluation: before and after, with intervals; tokens and truncation; replies side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.report import formats
from stillhouse.report.plots import Bar, Group, bar_plot, both
from stillhouse.report.svg import ticks
from stillhouse.report.views.traces import reply_parts

ROLES = {"in_domain": "what it was taught", "retention": "what it should not forget"}


def benchmarks(details: Mapping[str, Any]) -> list[str]:
    """Names in the order of the results, in-domain ones first."""
    rows = details.get("results", [])
    names = dict.fromkeys(row["benchmark"] for row in sorted(rows, key=lambda row: row.get("role") != "in_domain"))
    return list(names)


def results_of(details: Mapping[str, Any], benchmark: str) -> list[Mapping[str, Any]]:
    """Results of one benchmark in the order of the arms."""
    order = list(details.get("arms", []))
    rows = [row for row in details.get("results", []) if row["benchmark"] == benchmark]
    return sorted(rows, key=lambda row: order.index(row["arm"]) if row["arm"] in order else len(order))


def main_comparison(details: Mapping[str, Any], against: str = "before") -> Mapping[str, Any] | None:
    """After against ``against`` on the first in-domain benchmark."""
    for name in benchmarks(details):
        for row in details.get("comparisons", []):
            if (row["benchmark"], row["arm"], row["against"]) == (name, "after", against):
                return dict(row)
    return None


def evaluation(details: Mapping[str, Any]) -> dict[str, Any] | None:
    if not details:
        return None
    names = benchmarks(details)
    groups = [_scores(name, results_of(details, name)) for name in names]
    confidence = formats.share(details.get("confidence", 0.95), 0)
    return {
        "confidence": confidence,
        "digest": details.get("benchmark_digest", ""),
        "plot": both(lambda width: bar_plot(groups, width, tick=lambda value: formats.share(value, 0))),
        "tokens_plot": _tokens(details, names),
        "rows": [_row(row) for name in names for row in results_of(details, name)],
        "comparisons": [_comparison(row) for row in details.get("comparisons", [])],
        "arms": [{"kind": arm, "name": formats.arm(arm)} for arm in details.get("arms", [])],
    }


def _scores(name: str, rows: Sequence[Mapping[str, Any]]) -> Group:
    first = rows[0]
    bars = [
        Bar(
            label=formats.arm(row["arm"]),
            kind=row["arm"],
            value=row["avg_at_k"],
            low=(row.get("interval") or [None, None])[0],
            high=(row.get("interval") or [None, None])[1],
            text=f"{100 * row['avg_at_k']:.1f} {formats.interval(row.get('interval'))}",
        )
        for row in rows
    ]
    items = f"{formats.count(first['n'])} items, avg@{int(first['k'])}"
    return Group(title=name, note=f"{ROLES.get(first.get('role', ''), '')} · {items}".strip(" ·"), bars=bars)


def _tokens(details: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Mean tokens of a reply; the share that was cut off stands beside."""
    highest = max((row["tokens_per_answer"] for row in details.get("results", [])), default=0.0) or 1.0
    marks = ticks(0, highest, 4)
    top = max(highest, marks[-1])
    groups = []
    for name in names:
        bars = [_length_bar(row) for row in results_of(details, name)]
        groups.append(Group(title=name, note="tokens per answer", bars=bars))
    return both(lambda width: bar_plot(groups, width, top=top, tick=formats.count))


def _length_bar(row: Mapping[str, Any]) -> Bar:
    tokens = round(row["tokens_per_answer"], 1)
    text = f"{formats.count(tokens)} · cut off {formats.share(row['truncation_rate'])}"
    return Bar(label=formats.arm(row["arm"]), kind=row["arm"], value=tokens, text=text)


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "benchmark": row["benchmark"],
        "role": formats.words(row.get("role", "")),
        "arm": formats.arm(row["arm"]),
        "kind": row["arm"],
        "metric": f"avg@{int(row['k'])}",
        "n": formats.count(row["n"]),
        "score": formats.share(row["avg_at_k"]),
        "stderr": formats.share(row.get("stderr"), 2),
        "interval": formats.interval(row.get("interval")),
        "truncation": formats.share(row.get("truncation_rate")),
        "tokens": formats.count(row.get("tokens_per_answer")),
    }


def _comparison(row: Mapping[str, Any]) -> dict[str, Any]:
    low, high = row.get("interval") or (None, None)
    clear = low is not None and high is not None and (low > 0 or high < 0)
    return {
        "benchmark": row["benchmark"],
        "arm": formats.arm(row["arm"]),
        "against": formats.arm(row["against"]),
        "difference": formats.points(row["difference"]),
        "interval": formats.signed_interval(row.get("interval")),
        "reading": ("better" if row["difference"] > 0 else "worse") if clear else "no clear difference",
    }


def samples(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Items with the reply of each arm, in the order of the arms."""
    order = list(details.get("arms", []))
    found = []
    for item in details.get("samples", []):
        replies = item.get("replies", {})
        arms = [arm for arm in order if arm in replies] + [arm for arm in replies if arm not in order]
        found.append(
            {
                "benchmark": item.get("benchmark", ""),
                "prompt": item.get("prompt", ""),
                "gold": item.get("gold", ""),
                "replies": [
                    {"arm": formats.arm(arm), "kind": arm, "correct": bool(replies[arm].get("correct")),
                     "parts": reply_parts(replies[arm].get("reply") or "")}
                    for arm in arms
                ],
            }
        )  # fmt: skip
    return found
