"""From graded replies to what a summary says: results with intervals, paired comparisons, samples, files.

Pure functions of ``ArmResult``; knows no models. Differences are shares (0.1 is ten points), first arm minus second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from stillhouse.evaluation.benchmark import ArmResult
from stillhouse.evaluation.statistics import mean_interval, paired_bootstrap

Results = Mapping[str, Mapping[str, ArmResult]]
"""By benchmark, then by arm."""
_SAMPLES = 4
_KINDS = ((False, True), (True, False), (False, False), (True, True))
"""Right before, right after: learned, forgotten, never, always."""


def score_table(results: Results) -> dict[str, Any]:
    """The layout of ``scores.json``: {benchmark: {``k``, ``items``: {problem hash: {arm: [0|1, …]}}}}."""
    table: dict[str, Any] = {}
    for benchmark, arms in results.items():
        questions = next(iter(arms.values())).questions
        scores = {arm: result.scores for arm, result in arms.items()}
        hashes = [item.problem.hash for item in questions.items]
        items = {key: {arm: scores[arm][key] for arm in scores} for key in hashes}
        table[benchmark] = {"k": questions.k, "items": items}
    return table


def result_rows(results: Results, confidence: float) -> list[dict[str, Any]]:
    """One row for each benchmark and arm, as ``details.results``."""
    return [_result_row(result, confidence) for arms in results.values() for result in arms.values()]


def _result_row(result: ArmResult, confidence: float) -> dict[str, Any]:
    estimate = mean_interval(list(result.scores.values()), confidence)
    return {
        "benchmark": result.questions.name,
        "role": result.questions.role,
        "arm": result.arm,
        "k": result.questions.k,
        "n": estimate.n,
        "avg_at_k": round(estimate.mean, 6),
        "stderr": round(estimate.stderr, 6),
        "interval": [round(estimate.low, 6), round(estimate.high, 6)],
        "truncation_rate": round(result.truncation_rate, 6),
        "tokens_per_answer": round(result.tokens_per_answer, 3),
    }


def comparison_rows(results: Results, confidence: float, seed: int) -> list[dict[str, Any]]:
    """The trained student against every other arm, item by item, as ``details.comparisons``."""
    rows = []
    for benchmark, arms in results.items():
        after = list(arms["after"].scores.values())
        for against in (arm for arm in arms if arm != "after"):
            paired = paired_bootstrap(after, list(arms[against].scores.values()), confidence, seed=seed)
            rows.append(
                {
                    "benchmark": benchmark,
                    "arm": "after",
                    "against": against,
                    "difference": round(paired.difference, 6),
                    "interval": [round(paired.low, 6), round(paired.high, 6)],
                    "p_value": round(paired.p_value, 6),
                }
            )
    return rows


def metrics_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Scalars for MLflow: the trained student's numbers, and the other arms' means beside them."""
    metrics: dict[str, float] = {}
    for row in rows:
        name = row["benchmark"]
        if row["arm"] == "after":
            metrics[f"{name}.avg_at_{row['k']}"] = row["avg_at_k"]
            metrics.update({f"{name}.{key}": row[key] for key in ("stderr", "truncation_rate", "tokens_per_answer")})
        else:
            metrics[f"{name}.{row['arm']}"] = row["avg_at_k"]
    return metrics


def headline_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """``chain 12.5 → 71.9 % [63.5, 79.0] · …``, in-domain benchmarks and retention alike."""
    parts = []
    for after in (row for row in rows if row["arm"] == "after"):
        before = next((row for row in rows if row["benchmark"] == after["benchmark"] and row["arm"] == "before"), None)
        low, high = (100 * bound for bound in after["interval"])
        start = f"{100 * before['avg_at_k']:.1f} → " if before else ""
        parts.append(f"{after['benchmark']} {start}{100 * after['avg_at_k']:.1f} % [{low:.1f}, {high:.1f}]")
    return " · ".join(parts)


def sample_rows(results: Results) -> Iterator[dict[str, Any]]:
    """Every reply of every arm, as a line of ``samples.jsonl``."""
    for benchmark, arms in results.items():
        for arm, result in arms.items():
            for item in result.questions.items:
                for index, one in enumerate(result.graded[item.problem.hash]):
                    yield {
                        "benchmark": benchmark,
                        "arm": arm,
                        "problem_id": item.problem.id,
                        "problem_hash": item.problem.hash,
                        "sample_index": index,
                        "prompt": item.problem.prompt,
                        "gold": item.problem.answer,
                        "reply": one.reply,
                        "stated": one.stated,
                        "correct": one.correct,
                        "truncated": one.truncated,
                        "tokens": one.tokens,
                        "error": one.error,
                    }


def shown_samples(results: Results) -> list[dict[str, Any]]:
    """A few items of each benchmark for the report: one that training taught, one that it broke, and so on in turn.

    Of an item's replies the first of each arm is shown.
    """
    rows = []
    for benchmark, arms in results.items():
        problems = {item.problem.hash: item.problem for item in arms["after"].questions.items}
        for key in _in_turn(arms, sorted(problems))[:_SAMPLES]:
            firsts = {arm: result.graded[key][0] for arm, result in arms.items()}
            rows.append(
                {
                    "benchmark": benchmark,
                    "prompt": problems[key].prompt,
                    "gold": problems[key].answer,
                    "replies": {arm: {"reply": one.reply, "correct": one.correct} for arm, one in firsts.items()},
                }
            )
    return rows


def _in_turn(arms: Mapping[str, ArmResult], keys: Sequence[str]) -> list[str]:
    """Problem hashes, alternating between learned, forgotten, never right and always right."""
    kinds: dict[tuple[bool, bool], list[str]] = {kind: [] for kind in _KINDS}
    for key in keys:
        before = arms["before"].graded[key][0].correct if "before" in arms else False
        kinds[before, arms["after"].graded[key][0].correct].append(key)
    turns = (found for row in zip_longest(*kinds.values()) for found in row)
    return [key for key in turns if key is not None]
