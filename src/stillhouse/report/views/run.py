"""The head of the report (verdict and key numbers) and its foot (cost and time of each stage)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stillhouse.report import formats
from stillhouse.report.facts import RunFacts, StageState
from stillhouse.report.views import evaluation, gate
from stillhouse.summary import StageSummary


class Headline(NamedTuple):
    """``tone`` is good, bad or calm."""

    tone: str
    title: str
    text: str


class Tile(NamedTuple):
    label: str
    value: str
    note: str


def headline(run: RunFacts) -> Headline:
    """The run in one sentence."""
    if run.status == "failed":
        stage = run.broken_stage()
        return Headline("bad", f"Failed in {stage}" if stage else "Failed", run.error or "no error text was recorded")
    selected = run.details("select_teacher")
    if selected.get("decision") == "do_not_distil":
        return Headline("calm", "Do not distil", selected.get("reason", ""))
    registered = run.details("register_student")
    if registered:
        return _verdict(run, registered)
    if run.status == "running":
        return Headline("calm", "Still running", f"{len(run.summaries)} stages have finished so far")
    return Headline("calm", "Nothing was registered", "the run ended without a verdict")


def _verdict(run: RunFacts, registered: Mapping[str, Any]) -> Headline:
    name = f"{registered.get('name')} v{registered.get('version')}"
    aliases = gate.aliases(registered, run.details("promote_student"))
    passed = registered.get("verdict") == "passed"
    checks = registered.get("checks", [])
    decisive = [check for check in checks if bool(check.get("passed")) == passed] or checks
    text = decisive[0].get("text", "") if decisive else ""
    if not passed:
        return Headline("bad", f"{name} was not promoted", text)
    rank = "champion" if "champion" in aliases else "challenger" if "challenger" in aliases else "approved"
    return Headline("good", f"{name} is {rank}", text)


def tiles(run: RunFacts) -> list[Tile]:
    """Key numbers of what has finished."""
    found = [*_score_tiles(run.details("evaluate_student")), *_trace_tiles(run)]
    spent = sum(state.seconds for state in run.states() if state.state != "reused")
    took = elapsed(run)
    if took is not None or spent:
        found.append(Tile("time", formats.duration(spent if took is None else took), "for the whole run"))
    return found


def _score_tiles(details: Mapping[str, Any]) -> list[Tile]:
    names = evaluation.benchmarks(details)
    if not names:
        return []
    scores = {row["arm"]: row["avg_at_k"] for row in evaluation.results_of(details, names[0])}
    if "after" not in scores:
        return []
    found = [
        Tile(f"{names[0]}, after", formats.share(scores["after"]), f"before {formats.share(scores.get('before'))}")
    ]
    for against in ("before", "control"):
        row = evaluation.main_comparison(details, against)
        if row:
            gain = f"{formats.points(row['difference'])} pts"
            found.append(Tile(f"over {formats.arm(against)}", gain, formats.signed_interval(row.get("interval"))))
    return found


def _trace_tiles(run: RunFacts) -> list[Tile]:
    details = run.details("filter_traces")
    if not details.get("total"):
        return []
    kept = formats.share(details["positive"] / details["total"])
    of = f"{formats.count(details['positive'])} of {formats.count(details['total'])}"
    tokens = sum(state.cost("teacher_tokens") for state in run.states())
    return [Tile("traces kept", kept, of), Tile("teacher tokens", formats.count(tokens), "all stages together")]


def elapsed(run: RunFacts) -> float | None:
    """Seconds from start to end of the run, None where a time is missing."""
    start, end = formats.moment(run.started_at), formats.moment(run.finished_at)
    return (end - start).total_seconds() if start and end else None


def cost(run: RunFacts) -> dict[str, Any]:
    """One row per stage: what became of it, its time as a share of the longest, its tokens."""
    states = run.states()
    longest = max((state.seconds for state in states), default=0.0) or 1.0
    names = ("teacher_tokens", "teacher_requests", "currency")
    totals = {name: sum(state.cost(name) for state in states) for name in names}
    return {
        "rows": [_cost_row(state, longest) for state in states],
        "tokens": formats.count(totals["teacher_tokens"]),
        "requests": formats.count(totals["teacher_requests"]),
        "money": f"{totals['currency']:,.2f}" if totals["currency"] else "",
        "seconds": formats.duration(sum(state.seconds for state in states)),
        "elapsed": formats.duration(elapsed(run)),
    }


def _cost_row(state: StageState, longest: float) -> dict[str, Any]:
    tokens, requests, money = (state.cost(name) for name in ("teacher_tokens", "teacher_requests", "currency"))
    return {
        "name": state.name,
        "state": state.state,
        "headline": state.note or _result(state.summaries),
        "seconds": formats.duration(state.seconds) if state.summaries else formats.DASH,
        "width": round(100 * state.seconds / longest, 1),
        "tokens": formats.count(tokens) if tokens else formats.DASH,
        "requests": formats.count(requests) if requests else formats.DASH,
        "money": f"{money:,.2f}" if money else formats.DASH,
    }


def _result(summaries: Sequence[StageSummary]) -> str:
    """A stage's own headline; shards together are counted."""
    if len(summaries) < 2:
        return summaries[0].headline if summaries else ""
    traces = sum(summary.details.get("traces") or 0 for summary in summaries)
    return f"{len(summaries)} shards, {formats.count(traces)} traces"
