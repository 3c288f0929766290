"""The stage ``filter_traces``: shards in, records out. Knows files; what to keep is the selectors' business."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stillhouse import plugins
from stillhouse.errors import RecipeError
from stillhouse.filtering import funnel
from stillhouse.recipe.stages import FilterConfig
from stillhouse.records import Problem, Record, Trace, iter_messages, read_rows, write_rows
from stillhouse.report.plots import funnel_plot
from stillhouse.stage import Stage, run_stage
from stillhouse.summary import StageSummary

_ADVICE = {
    "no_reply": "look at the teacher's server and its log",
    "empty_reply": "look at the teacher's chat template and prompter",
    "truncated": "raise traces.sampling.max_tokens",
    "unclosed_thoughts": "raise traces.sampling.max_tokens",
    "no_reasoning": "use a reasoning teacher, or set reasoning: false in filter.select format",
    "no_answer": "ask for \\boxed{} in traces.prompter.template, or set boxed: false in filter.select format",
    "wrong_answer": "use a better teacher, more traces.samples or easier problems",
    "too_short": "lower min_tokens in filter.select length",
    "too_long": "raise max_tokens in filter.select length",
    "repetitive": "raise max_share in filter.select repetition, or the sampling temperature",
    "duplicate_trace": "raise traces.sampling.temperature or lower traces.samples",
    "held_out": "train on problems that are not in an evaluation set",
}


def run(
    config: FilterConfig | Mapping[str, Any], *, shards: Sequence[Path], output: str | Path, workspace: str | Path
) -> StageSummary:
    """See ``stillhouse.filtering.filter_traces``."""
    try:
        checked = config if isinstance(config, FilterConfig) else FilterConfig.model_validate(dict(config))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"filter_traces config {where}: {first['msg']} (got {first['input']!r})") from error
    folders = [Path(shard) for shard in shards]
    return run_stage(checked, _body, output=Path(output), workspace=workspace, inputs={"shards": folders})


def _body(stage: Stage[FilterConfig]) -> None:
    section = stage.config.filter
    _check_shards(stage)
    records = _read_records(stage.inputs["shards"])
    if not records:
        raise RecipeError("filter_traces: the shards hold no traces at all; look at generate_traces and data.problems")
    total_steps = len(section.annotate) + len(section.select)
    for position, config in enumerate(section.annotate):
        stage.progress.step(position, total_steps, f"annotate {config.type}")
        records = funnel.annotate(records, config.type, plugins.build("annotator", config))
    steps: list[funnel.Step] = []
    for position, rule in enumerate(section.select, start=len(section.annotate)):
        stage.progress.step(position, total_steps, f"select {rule.type}")
        records, step = funnel.select(records, rule.type, plugins.build("selector", rule))
        steps.append(step)
    stage.details = funnel.describe(records, steps)
    _check_yield(stage.details, section.minimum_yield)
    _write(stage, records)
    _conclude(stage, records)


def _check_shards(stage: Stage[FilterConfig]) -> None:
    """All shards must be there: a student of half the traces would look like a student of all."""
    found = [int(summary.details.get("shard", 0)) for summary in stage.upstream["shards"]]
    missing = sorted(set(range(stage.config.shards)) - set(found))
    if missing:
        names = ", ".join(str(number) for number in missing)
        raise RecipeError(
            f"filter_traces: shard {names} of 0..{stage.config.shards - 1} is missing; run generate_traces for it"
        )
    extra = sorted(number for number in set(found) if number >= stage.config.shards or found.count(number) > 1)
    if extra:
        raise RecipeError(
            f"filter_traces: shard {extra[0]} is one too many for shards={stage.config.shards}; pass each shard once"
        )


def _read_records(shards: Sequence[Path]) -> list[Record]:
    """All traces with their problems, in the order of their keys: the same however the work was divided."""
    records: list[Record] = []
    for shard in shards:
        problems = {problem.hash: problem for problem in read_rows(shard / "problems.parquet", Problem)}
        for trace in read_rows(shard / "traces.parquet", Trace):
            if trace.problem_hash not in problems:
                raise RecipeError(
                    f"{shard}: trace {trace.key[:12]} answers problem {trace.problem_id}, which is not in "
                    f"problems.parquet; generate this shard again"
                )
            records.append(Record(problem=problems[trace.problem_hash], trace=trace))
    return sorted(records, key=lambda record: record.trace.key)


def _check_yield(details: dict[str, Any], minimum: float) -> None:
    positive, total = details["positive"], details["total"]
    if positive and positive / total >= minimum:
        return
    top = list(details["reasons"].items())[:3]
    lost = ", ".join(f"{reason} {count}" for reason, count in top) or "nothing was dropped"
    advice = "; ".join(dict.fromkeys(_ADVICE.get(reason, f"look at the selector behind {reason}") for reason, _ in top))
    wanted = f"filter.minimum_yield asks for {minimum:.1%}" if positive else "training needs at least one"
    raise RecipeError(
        f"filter_traces: {positive} of {total} traces survive ({positive / total:.1%}), {wanted}; "
        f"most were lost to: {lost}. {advice or 'lower filter.minimum_yield'}"
    )


def _write(stage: Stage[FilterConfig], records: Sequence[Record]) -> None:
    write_rows(stage.output / "records.parquet", records, Record)
    positives = (record for record in records if record.role == "positive")
    with (stage.output / "train.jsonl").open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in iter_messages(positives))
    plot = funnel_plot(stage.details["funnel"], standalone=True)
    (stage.output / "funnel.svg").write_text(plot, encoding="utf-8")


def _conclude(stage: Stage[FilterConfig], records: Sequence[Record]) -> None:
    details = stage.details
    tokens = [record.trace.completion_tokens for record in records if record.role == "positive"]
    share = details["positive"] / details["total"]
    stage.metrics = {
        "traces": details["total"],
        "positive": details["positive"],
        "negative": details["negative"],
        "dropped": details["dropped"],
        "yield": round(share, 6),
        "tokens_per_positive": round(sum(tokens) / len(tokens), 3),
    }
    lost = " · ".join(f"{reason} {count}" for reason, count in list(details["reasons"].items())[:3])
    stage.headline = f"kept {details['positive']} of {details['total']} ({share:.1%})" + (f" · {lost}" if lost else "")
