"""The summary at the end of ``stillhouse run``: plain text, aligned, at most 100 columns. Numbers as in the report."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stillhouse.report import formats
from stillhouse.report.facts import RunFacts
from stillhouse.report.views import evaluation, gate
from stillhouse.report.views.run import elapsed
from stillhouse.report.views.training import arms_of

WIDTH = 100
_LABEL = 12
_NAME = 20
_MOST_ARMS = 4


def run_summary(run: RunFacts) -> str:
    """See ``stillhouse.report.run_summary``."""
    parts = (_head, _teacher, _traces, _training, _results, _gate, _foot)
    blocks = ["\n".join(part(run)) for part in parts]
    return "\n".join(block for block in blocks if block) + "\n"


def _field(label: str, *lines: str) -> Iterator[str]:
    """A label and lines behind it, folded at the width; commands and paths in them are never broken."""
    for index, line in enumerate(line for line in lines if line):
        folded = textwrap.wrap(
            line, WIDTH - _LABEL, break_long_words=False, break_on_hyphens=False, subsequent_indent="  "
        )
        for number, piece in enumerate(folded):
            yield f"  {label if not index and not number else '':<{_LABEL - 2}}{piece}"


def _head(run: RunFacts) -> Iterator[str]:
    took = elapsed(run)
    yield f"stillhouse  {run.name}  {run.status}" + (f" in {formats.duration(took)}" if took is not None else "")
    if run.status == "failed":
        stage = run.broken_stage()
        finished = [state.name for state in run.states() if state.state in ("done", "reused")]
        yield ""
        error = run.error.removeprefix(f"{stage}: ")
        yield from _field("failed", f"{stage or 'outside the stages'}: {error}")
        yield from _field("finished", ", ".join(finished) or "nothing yet")


def _teacher(run: RunFacts) -> Iterator[str]:
    details = run.details("select_teacher")
    if not details:
        return
    yield ""
    chosen = details.get("chosen")
    lines = []
    for row in sorted(details.get("candidates", []), key=lambda row: (row.get("rank") is None, row.get("rank") or 0)):
        mark = "→" if row["name"] == chosen else " "
        score = f"{formats.share(row.get('accuracy'))} {formats.interval(row.get('interval'))}"
        tokens = f"{formats.count(row.get('tokens_per_correct'))} tokens per right answer"
        out = "" if row.get("rank") else "  out"
        lines.append(f"{mark} {row['name']:<12.12} {score:<22} {tokens}{out}")
    yield from _raw("teacher", lines)
    yield from _field("", details.get("reason") or "")


def _raw(label: str, lines: Iterable[str]) -> Iterator[str]:
    """Like ``_field`` for lines that hold columns: too long ones are cut, not folded."""
    for index, line in enumerate(lines):
        yield f"  {'' if index else label:<{_LABEL - 2}}{line}"[:WIDTH]


def _traces(run: RunFacts) -> Iterator[str]:
    shards = [summary.details for summary in run.all("generate_traces")]
    if not shards:
        return
    total = {name: sum(shard.get(name) or 0 for shard in shards) for name in ("traces", "tokens", "reused", "errors")}
    said = f"{formats.count(total['traces'])} traces, {formats.count(total['tokens'])} tokens"
    said += f", {formats.count(total['reused'])} reused" if total["reused"] else ""
    said += f", {formats.count(total['errors'])} failed" if total["errors"] else ""
    details = run.details("filter_traces")
    if not details:
        yield from _field("traces", said)
        return
    share = formats.share(details["positive"] / details["total"] if details.get("total") else None)
    kept = f"kept {formats.count(details['positive'])} of {formats.count(details['total'])} ({share})"
    reasons = sorted(details.get("reasons", {}).items(), key=lambda item: (-item[1], item[0]))
    lost = " · ".join(f"{name} {formats.count(number)}" for name, number in reasons)
    yield from _field("traces", said, kept, f"lost: {lost}" if lost else "")


def _training(run: RunFacts) -> Iterator[str]:
    details = run.details("train_student")
    if not details:
        return
    arms = arms_of(details)
    losses = ", ".join(
        f"{'student' if name == 'student' else formats.arm(name)} {formats.number(arm.get('final_loss'))}"
        for name, arm in arms.items()
    )
    steps = formats.count(arms.get("student", {}).get("steps"))
    yield from _field(
        "training", f"{details.get('objective')}, {details.get('tuning')}, {steps} steps; final loss: {losses}"
    )


def _results(run: RunFacts) -> Iterator[str]:
    details = run.details("evaluate_student")
    arms = list(details.get("arms", []))[:_MOST_ARMS]
    if not arms:
        return
    yield ""
    yield f"  {'right answers, %':<{_NAME - 2}}" + "".join(f"{formats.arm(arm):<20.19}" for arm in arms).rstrip()
    names = evaluation.benchmarks(details)
    for name in names:
        rows = {row["arm"]: row for row in evaluation.results_of(details, name)}
        label = f"{name} (retention)" if next(iter(rows.values())).get("role") == "retention" else name
        yield _row(label, [_score(rows.get(arm)) for arm in arms])
    rows = {row["arm"]: row for row in evaluation.results_of(details, names[0])} if names else {}
    for label, name, show in (
        ("tokens per answer", "tokens_per_answer", formats.count),
        ("cut off", "truncation_rate", formats.share),
    ):
        yield _row(label, [show(rows.get(arm, {}).get(name)) for arm in arms])


def _row(label: str, cells: Iterable[str]) -> str:
    return f"  {label:<{_NAME - 2}.{_NAME - 3}}" + "".join(f"{cell:<20}" for cell in cells).rstrip()


def _score(row: Mapping[str, Any] | None) -> str:
    return formats.DASH if row is None else f"{100 * row['avg_at_k']:.1f} {formats.interval(row.get('interval'))}"


def _gate(run: RunFacts) -> Iterator[str]:
    details = run.details("register_student")
    if not details:
        return
    yield ""
    checks = [f"{'✓' if check.get('passed') else '✗'} {check.get('text', '')}" for check in details.get("checks", [])]
    evidence = f"evidence sha256:{formats.short(details.get('evidence_sha256'))}"
    yield from _field(
        "gate", f"{str(details.get('verdict', '')).upper()} against {details.get('against')} · {evidence}", *checks
    )
    promoted = run.details("promote_student")
    aliases = " → ".join(gate.aliases(details, promoted))
    outcome = promoted.get("text") or next(state.note for state in run.states() if state.name == "promote_student")
    yield from _field("student", f"{details.get('name')} v{details.get('version')} → {aliases or 'no alias'}", outcome)


def _foot(run: RunFacts) -> Iterator[str]:
    states = run.states()
    tokens, money = (sum(state.cost(name) for state in states) for name in ("teacher_tokens", "currency"))
    seconds = sum(state.seconds for state in states)
    spent = f"{formats.count(tokens)} teacher tokens · {formats.duration(seconds)} of work"
    spent += f" · {money:,.2f} in the recipe's currency" if money else ""
    budget = ((run.recipe.get("traces") or {}).get("budget") or {}).get("tokens")
    spent += f" · budget {formats.count(budget)} tokens" if budget else ""
    yield ""
    if run.summaries:
        yield from _field("spent", spent)
    yield from _field("report", run.path)
    yield from _field("next", *_next(run))


def _next(run: RunFacts) -> list[str]:
    """Commands that make sense now."""
    details = run.details("register_student")
    if not details:
        return []
    name, version = details.get("name"), details.get("version")
    aliases = gate.aliases(details, run.details("promote_student"))
    address = f"models:/{name}@champion" if "champion" in aliases else f"models:/{name}/{version}"
    commands = [f"stillhouse lineage {address}"]
    if details.get("verdict") == "passed" and "champion" not in aliases:
        commands.insert(0, f"stillhouse promote {name} {version} champion")
    return commands
