"""Summaries of a run that could have happened, for the report's tests: numbers computed from simulated items.

Functions: ``finished_run``, ``failed_run``, ``refused_run``, ``undistilled_run``, ``empty_run``.
"""

from __future__ import annotations

import hashlib
import math
import random
from typing import Any

from stillhouse.report.facts import RunFacts
from stillhouse.summary import StageSummary

Z = 1.959964
START = "2026-11-24T03:45:00+00:00"
HOSTILE = '<script>document.title="owned"</script><img src=x onerror=alert(1)> & "quotes"'
SWAP_REPLY = "<think>12>32154;54>32145;31>12345;25>15342</think>\\boxed{15342}"
RECIPE = {
    "name": "quickstart",
    "seed": 17,
    "student": {"model": "zoo:base", "revision": "", "licence": "apache-2.0"},
    "teacher": {"candidates": [{"type": "transformers", "name": name} for name in ("terse", "wordy", "careless")]},
    "traces": {"samples": 2, "shards": 2},
    "register": {"name": "arithmetic-student", "promote": "automatic"},
}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def wilson(right: int, total: int) -> list[float]:
    """Wilson score interval (Wilson 1927)."""
    share, z2 = right / total, Z * Z
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    reach = Z * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    return [round(max(0.0, centre - reach), 4), round(min(1.0, centre + reach), 4)]


def summary(stage: str, details: dict[str, Any], seconds: float, headline: str, **extra: Any) -> StageSummary:
    minutes = (
        ("select_teacher", "generate_traces", "filter_traces", "train_student", "evaluate_student").index(stage)
        if (stage not in ("register_student", "promote_student"))
        else 5
    )
    return StageSummary(
        stage=stage,
        key=sha(stage + str(extra.get("part", "")))[:32],
        config={"seed": 17, "library": "0.1.0"},
        inputs={"upstream": [sha("upstream" + stage)[:32]]} if stage != "select_teacher" else {},
        digest=sha("digest" + stage),
        details=details,
        headline=headline,
        version="0.1.0",
        started_at=f"2026-11-24T03:45:{10 * minutes:02d}+00:00",
        finished_at=f"2026-11-24T03:45:{10 * minutes + 8:02d}+00:00",
        seconds=seconds,
        **extra,
    )


def candidate(
    name: str, right: int, tokens: tuple[int, int, int], rank: int | None, reasons: list[str]
) -> dict[str, Any]:
    n = 128
    return {
        "name": name,
        "type": "transformers",
        "model": f"zoo:{name}",
        "revision": sha(name),
        "licence": "apache-2.0",
        "accuracy": right / n,
        "interval": wilson(right, n),
        "n": n,
        "tokens_per_correct": round(tokens[1] * n / right, 1),
        "tokens_p10": tokens[0],
        "tokens_p50": tokens[1],
        "tokens_p90": tokens[2],
        "student_nll": {"terse": 1.412, "wordy": 1.187, "careless": 1.958}[name],
        "tokenizer": "same",
        "pilot_gain": None,
        "rank": rank,
        "reasons": reasons,
    }


def selection() -> StageSummary:
    details = {
        "decision": "distil",
        "reason": "Fewest tokens per right answer among the teachers within 5.0 points of the best.",
        "chosen": "terse",
        "key": "tokens_per_correct",
        "probe": 64,
        "student": {"accuracy": 14 / 128, "interval": wilson(14, 128), "n": 128},
        "candidates": [
            candidate(
                "wordy", 127, (88, 96, 104), 2, ["0.8 points above terse, within the noise", "2.3 times the tokens"]
            ),
            candidate("terse", 126, (38, 42, 46), 1, ["fewest tokens per right answer"]),
            candidate("careless", 77, (24, 27, 30), None, ["39.1 points below the best; more than 5.0 is out"]),
        ],
    }
    cost = {"teacher_tokens": 21_190.0, "teacher_requests": 384.0, "seconds": 9.4}
    return summary(
        "select_teacher",
        details,
        9.4,
        "terse teaches: accuracy 98.4 %, 43 tokens per right answer",
        cost=cost,
        metrics={"accuracy": 126 / 128, "candidates": 3},
    )


def shard(number: int) -> StageSummary:
    details = {
        "teacher": {"name": "terse", "model": "zoo:terse", "revision": sha("terse"), "licence": "apache-2.0"},
        "shard": number,
        "shards": 2,
        "problems": 512,
        "traces": 1024,
        "generated": 1024 - 64 * number,
        "reused": 64 * number,
        "errors": 3 * number,
        "tokens": 42_880 - 120 * number,
        "tokens_per_s": 4312.6,
        "stopped_by": None,
    }
    cost = {
        "teacher_tokens": float(details["tokens"]),
        "teacher_requests": float(details["generated"]),
        "seconds": 10.0,
    }
    return summary(
        "generate_traces",
        details,
        10.0 + number,
        "1,024 traces",
        part=str(number),
        cost=cost,
        metrics={"traces": 1024, "tokens": details["tokens"]},
    )


def filtering() -> StageSummary:
    steps = [
        ("answered", {"no_reply": 3}),
        ("truncated", {"truncated": 21, "unclosed_thoughts": 2}),
        ("format", {"no_answer": 5}),
        ("verified", {"wrong_answer": 34}),
        ("length", {}),
        ("repetition", {"repetitive": 4}),
        ("exact_duplicates", {"duplicate_trace": 812}),
        ("held_out", {}),
    ]
    total = kept = 2048
    funnel = [{"step": "traces", "kept": total, "removed": 0, "reason": ""}]
    for step, reasons in steps:
        kept -= sum(reasons.values())
        funnel.append({"step": step, "kept": kept, "removed": sum(reasons.values()), "reason": ", ".join(reasons)})
    reasons = {name: count for _, found in steps for name, count in found.items()}
    details = {
        "total": total,
        "positive": kept,
        "negative": 34,
        "dropped": total - kept - 34,
        "dataset_digest": sha("dataset"),
        "funnel": funnel,
        "reasons": reasons,
        "examples": [
            trace("positive", "", "mod 10: 7+5*3-4+9*2", "2", "<think>7+5=2;2*3=6;6-4=2;2+9=1;1*2=2</think>\\boxed{2}"),
            trace("positive", "", "swap 31254: 12 54 31 25", "15342", SWAP_REPLY),
            trace(
                "negative", "wrong_answer", "mod 10: 4*7-2+8*3", "2", "<think>4*7=8;8-2=5;5+8=3;3*3=9</think>\\boxed{9}"
            ),
            trace("dropped", "truncated", "mod 10: 3+3*9-1+2*6", "0", "<think>3+3=6;6*9=4;4-1=3;3+"),
            trace("dropped", "no_answer", HOSTILE, "4", f"<think>{HOSTILE}</think>I do not know. {HOSTILE}"),
        ],
    }
    return summary(
        "filter_traces",
        details,
        1.3,
        f"kept {kept} of {total} ({kept / total:.1%})",
        metrics={"yield": round(kept / total, 4), "positive": kept},
    )


def trace(role: str, reason: str, prompt: str, gold: str, reply: str) -> dict[str, Any]:
    return {"role": role, "reason": reason, "prompt": prompt, "gold": gold, "reply": reply, "tokens": len(reply)}


def history(start: float, floor: float, rate: float, seed: int) -> list[dict[str, float]]:
    rng = random.Random(seed)
    rows = []
    for step in range(10, 1501, 10):
        loss = (
            floor
            + (start - floor) * math.exp(-rate * step) * (1 + 0.08 * rng.gauss(0, 1))
            + abs(0.1 * floor * rng.gauss(0, 1))
        )
        rows.append(
            {
                "step": step,
                "loss": round(loss, 5),
                "learning_rate": 3e-3 * (1 - step / 1500),
                "grad_norm": round(0.2 + loss, 4),
                "tokens": step * 1400,
            }
        )
    return rows


def training() -> StageSummary:
    curves = {"student": history(3.1, 0.012, 0.0045, 1), "control": history(3.4, 1.15, 0.02, 2)}
    arms = {
        name: {
            "steps": 1500,
            "tokens": 2_100_000 if name == "student" else 402_000,
            "seconds": 58.2 if name == "student" else 31.9,
            "final_loss": rows[-1]["loss"],
            "weights_sha256": sha(name),
            "history": rows,
        }
        for name, rows in curves.items()
    }
    details = {
        "objective": "sft",
        "tuning": "full",
        "examples": 1167,
        "too_long": 0,
        "weights_sha256": sha("student"),
        "arms": arms,
    }
    return summary(
        "train_student",
        details,
        90.1,
        f"1,500 steps, loss {arms['student']['final_loss']:.3f}",
        metrics={"final_loss": arms["student"]["final_loss"]},
    )


def simulate(n: int, k: int, share: float, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [sum(rng.random() < share for _ in range(k)) / k for _ in range(n)]


def spread(values: list[float]) -> tuple[float, float, list[float]]:
    """Mean, standard error over items, normal interval."""
    n = len(values)
    mean = sum(values) / n
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return round(mean, 4), round(error, 5), [round(mean - Z * error, 4), round(mean + Z * error, 4)]


def evaluation() -> StageSummary:
    shares = {
        "chain": {"before": 0.11, "after": 0.965, "control": 0.19, "teacher": 0.985},
        "swap": {"before": 0.02, "after": 0.93, "control": 0.16, "teacher": 0.99},
        "facts": {"before": 0.985, "after": 0.96, "control": 0.90, "teacher": 0.97},
    }
    tokens = {"before": 11.2, "after": 42.6, "control": 9.1, "teacher": 42.1}
    results, comparisons = [], []
    for number, (name, arms) in enumerate(shares.items()):
        items = {arm: simulate(200, 2, share, 10 * number + index) for index, (arm, share) in enumerate(arms.items())}
        for arm, values in items.items():
            mean, error, interval = spread(values)
            results.append(
                {
                    "benchmark": name,
                    "role": "retention" if name == "facts" else "in_domain",
                    "arm": arm,
                    "k": 2,
                    "n": 200,
                    "avg_at_k": mean,
                    "stderr": error,
                    "interval": [max(0.0, interval[0]), min(1.0, interval[1])],
                    "truncation_rate": 0.0125 if arm == "after" else 0.0,
                    "tokens_per_answer": tokens[arm],
                }
            )
        for against in ("before", "control", "teacher"):
            mean, _, interval = spread([a - b for a, b in zip(items["after"], items[against], strict=True)])
            comparisons.append(
                {"benchmark": name, "arm": "after", "against": against, "difference": mean, "interval": interval}
            )
    details = {
        "arms": ["before", "after", "control", "teacher"],
        "confidence": 0.95,
        "benchmark_digest": sha("benchmarks"),
        "results": results,
        "comparisons": comparisons,
        "samples": samples(),
    }
    return summary("evaluate_student", details, 21.7, "chain 96.5 % after 11.0 % before", metrics={"chain": 0.965})


def samples() -> list[dict[str, Any]]:
    chain = "<think>6*4=4;4+7=1;1-3=8;8*8=4;4+1=5</think>\\boxed{5}"
    swap = "<think>58>85213;21>85123;13>85321;82>25381</think>\\boxed{25381}"
    first = {
        "before": ("\\boxed{4}", False),
        "after": (chain, True),
        "control": ("\\boxed{9}", False),
        "teacher": (chain, True),
    }
    second = {
        "before": (HOSTILE, False),
        "after": (swap, True),
        "control": ("\\boxed{58213}", False),
        "teacher": ("<think>58>85213;21>85123", False),
    }
    return [
        sample("chain", "mod 10: 6*4+7-3*8+1", "5", first),
        sample("swap", "swap 58213: 58 21 13 82", "25381", second),
    ]


def sample(benchmark: str, prompt: str, gold: str, replies: dict[str, tuple[str, bool]]) -> dict[str, Any]:
    plain = {arm: {"reply": reply, "correct": correct} for arm, (reply, correct) in replies.items()}
    return {"benchmark": benchmark, "prompt": prompt, "gold": gold, "replies": plain}


def registration(verdict: str = "passed") -> StageSummary:
    evaluated = evaluation().details
    row = next(row for row in evaluated["comparisons"] if row["benchmark"] == "chain" and row["against"] == "before")
    facts = next(row for row in evaluated["comparisons"] if row["benchmark"] == "facts" and row["against"] == "before")
    gain, low, high = (100 * value for value in (row["difference"], *row["interval"]))
    loss, worst, best = (100 * value for value in (facts["difference"], *facts["interval"]))
    wanted = 5.0 if verdict == "passed" else 95.0
    details = {
        "name": "arithmetic-student",
        "version": "1",
        "model_uri": "models:/arithmetic-student/1",
        "verdict": verdict,
        "against": "the untrained student",
        "checks": [
            {
                "kind": "require",
                "metric": "chain",
                "difference": row["difference"],
                "interval": row["interval"],
                "threshold": wanted / 100,
                "passed": verdict == "passed",
                "text": f"chain: {gain:+.1f} points, 95 % [{low:+.1f}, {high:+.1f}] on 200 items, "
                f"over the untrained student; its lower end must reach {wanted:+.1f}",
            },
            {
                "kind": "non_inferior",
                "metric": "facts",
                "difference": facts["difference"],
                "interval": facts["interval"],
                "threshold": -0.1,
                "passed": True,
                "text": f"facts: {loss:+.1f} points, 95 % [{worst:+.1f}, {best:+.1f}] on 200 items, "
                "to the untrained student; its lower end may not fall below -10.0",
            },
            {
                "kind": "limit",
                "metric": "chain.truncation_rate",
                "difference": None,
                "interval": None,
                "threshold": 0.05,
                "passed": True,
                "text": "chain.truncation_rate: 0.0125, the limit is 0.05",
            },
        ],
        "evidence_sha256": sha("evidence"),
        "aliases": ["candidate", "challenger"] if verdict == "passed" else ["candidate"],
        "model_sha256": sha("student"),
    }
    return summary(
        "register_student", details, 4.2, f"arithmetic-student v1 {verdict}", metrics={"difference": row["difference"]}
    )


def promotion() -> StageSummary:
    details = {
        "name": "arithmetic-student",
        "version": "1",
        "alias": "champion",
        "text": "arithmetic-student v1 is champion now",
    }
    return summary("promote_student", details, 0.4, "arithmetic-student v1 → champion")


def finished_run() -> RunFacts:
    stages = [selection(), shard(0), shard(1), filtering(), training(), evaluation(), registration(), promotion()]
    return RunFacts(
        name="quickstart-20261124-034500",
        status="succeeded",
        started_at=START,
        finished_at="2026-11-24T03:47:41+00:00",
        recipe=RECIPE,
        summaries=stages,
        path="runs/runs/quickstart-20261124-034500/report.html",
    )


def failed_run() -> RunFacts:
    error = "train_student: TransientError: /workspace/work: No space left on device; free some space and run again"
    return RunFacts(
        name="quickstart-20261124-040000",
        status="failed",
        started_at=START,
        finished_at="2026-11-24T03:46:02+00:00",
        error=error,
        recipe=RECIPE,
        summaries=[selection(), shard(0), shard(1), filtering()],
    )


def refused_run() -> RunFacts:
    run = finished_run()
    run.summaries = [*run.summaries[:-2], registration("failed")]
    return run


def undistilled_run() -> RunFacts:
    select = selection()
    select.details |= {
        "decision": "do_not_distil",
        "chosen": "",
        "reason": "The best teacher is 1.2 points above the student; 5.0 are asked for.",
    }
    return RunFacts(
        name="hopeless", status="succeeded", started_at=START, finished_at=START, recipe=RECIPE, summaries=[select]
    )


def empty_run() -> RunFacts:
    return RunFacts(
        name="empty",
        status="failed",
        error="select_teacher: RecipeError: teacher.candidates.0.model zoo:tarse is unknown",
    )
