"""Traces: what the teacher wrote, what was kept, and examples of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.reasoning import split_reply
from stillhouse.report import formats
from stillhouse.report.plots import both, funnel_plot
from stillhouse.summary import StageSummary


def generation(shards: Sequence[StageSummary]) -> dict[str, Any] | None:
    """All shards together, and what each of them did."""
    if not shards:
        return None
    rows = [shard.details for shard in shards]
    total = {name: sum(row.get(name) or 0 for row in rows) for name in ("problems", "traces", "errors", "tokens")}
    reused, generated = sum(row.get("reused") or 0 for row in rows), sum(row.get("generated") or 0 for row in rows)
    return {
        "teacher": rows[0].get("teacher") or {},
        "total": {name: formats.count(value) for name, value in total.items()},
        "generated": formats.count(generated),
        "reused": formats.count(reused),
        "expected": int(rows[0].get("shards") or len(rows)),
        "finished": len(rows),
        "stopped_by": next((row["stopped_by"] for row in rows if row.get("stopped_by")), None),
        "shards": [_shard(shard) for shard in shards],
    }


def _shard(shard: StageSummary) -> dict[str, Any]:
    row = shard.details
    plain = {name: formats.count(row.get(name)) for name in ("traces", "generated", "reused", "errors", "tokens")}
    return {**plain, "shard": shard.part or row.get("shard", 0), "tokens_per_s": formats.count(row.get("tokens_per_s"))}


def funnel(details: Mapping[str, Any]) -> dict[str, Any] | None:
    """The funnel as table and plot, and how often each reason applied."""
    if not details:
        return None
    rows = details.get("funnel", [])
    total = details.get("total") or 0
    negative = details.get("negative", 0)
    return {
        "plot": both(lambda width: funnel_plot(rows, width)),
        "rows": [
            {
                "step": formats.words(row["step"]),
                "kept": formats.count(row["kept"]),
                "removed": formats.count(row["removed"]),
                "reason": row.get("reason", ""),
            }
            for row in rows
        ],
        "total": formats.count(total),
        "positive": formats.count(details.get("positive")),
        "negative": formats.count(negative),
        "dropped": formats.count(details.get("dropped")),
        "yield": formats.share(details.get("positive", 0) / total if total else None),
        "digest": details.get("dataset_digest", ""),
        "reasons": [
            {"name": name, "meaning": formats.reason(name), "count": formats.count(number),
             "share": formats.share(number / total if total else None)}
            for name, number in sorted(details.get("reasons", {}).items(), key=lambda item: (-item[1], item[0]))
        ],
    }  # fmt: skip


def examples(details: Mapping[str, Any]) -> dict[str, Any] | None:
    """Kept traces and rejected ones, for two columns."""
    found = [_example(item) for item in details.get("examples", [])]
    if not found:
        return None
    return {
        "kept": [item for item in found if item["role"] == "positive"],
        "rejected": [item for item in found if item["role"] != "positive"],
    }


def _example(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **item,
        "tokens": formats.count(item.get("tokens")),
        "meaning": formats.reason(item.get("reason", "")),
        "parts": reply_parts(item.get("reply", "")),
    }


def reply_parts(reply: str) -> dict[str, Any]:
    """Thoughts and answer of a reply; ``open`` marks thoughts that never ended."""
    thoughts, answer, closed = split_reply(reply)
    return {"thoughts": thoughts, "answer": answer, "open": not closed}
