"""The stage ``generate_traces``: one shard of the problems, asked for, stored as it comes, written out in order.

Knows no backend: a teacher yields replies, a batch is stored before the next is asked for. A resumed run
asks only for what is missing; local teachers form the same batches from it, so it ends with the traces of an
uninterrupted run.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from stillhouse.data import load_problems, split_probe
from stillhouse.errors import RecipeError, TransientError
from stillhouse.generation.plan import Plan, make_plan
from stillhouse.generation.store import TraceStore
from stillhouse.models.requests import ChatRequest, Reply, failed
from stillhouse.progress import Progress
from stillhouse.prompting.base import Prompter, open_prompter
from stillhouse.recipe.refusal import validate
from stillhouse.recipe.stages import GenerateConfig
from stillhouse.recipe.teacher import TeacherConfig
from stillhouse.recipe.traces import TracesConfig
from stillhouse.records import Problem, Trace, write_rows
from stillhouse.stage import Stage, run_stage
from stillhouse.summary import StageSummary
from stillhouse.teachers.base import Teacher, open_teacher

_SILENT_AFTER = 256
"""A teacher that said nothing in so many replies is not asked further."""


@dataclass
class _Work:
    """A shard on its way. ``traces`` holds all that is known by now, stored ones first."""

    plan: Plan
    traces: dict[str, Trace]
    reused: int
    generated: int = 0
    tokens: int = 0
    seconds: float = 0.0
    stopped_by: str | None = None
    errors: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[ChatRequest]:
        return [item.request for key, item in self.plan.items.items() if key not in self.traces]

    @property
    def total_tokens(self) -> int:
        return sum(trace.completion_tokens for trace in self.traces.values())


def run(
    config: GenerateConfig | Mapping[str, Any], *, shard: int, teacher: Path, output: Path, workspace: str | Path
) -> StageSummary:
    """See ``stillhouse.generation.generate_traces``."""
    checked = config if isinstance(config, GenerateConfig) else validate(GenerateConfig, config, "generate_traces")
    number, shards = int(shard), checked.traces.shards
    if not 0 <= number < shards:
        raise RecipeError(f"generate_traces: shard {shard} does not exist; traces.shards = {shards}, counted from 0")

    def body(stage: Stage[GenerateConfig]) -> None:
        _body(stage, number)

    return run_stage(
        checked, body, output=Path(output), workspace=workspace, inputs={"teacher": [Path(teacher)]}, part=str(number)
    )


def _body(stage: Stage[GenerateConfig], shard: int) -> None:
    config, traces = stage.config, stage.config.traces
    problems = load_problems(config.problems, config.max_bad_share, stage.progress)
    _, rest = split_probe(problems, config.probe, config.seed)
    mine = rest[shard :: traces.shards]
    teacher_config = _read_teacher(stage.input("teacher"))
    teacher, prompter = open_teacher(teacher_config), open_prompter(traces.prompter)
    plan = make_plan(mine, traces, prompter, teacher, config.seed)
    store = TraceStore(stage.workspace.traces, _identity(teacher_config, plan))
    known = store.read(plan.items.keys(), stage.progress.say)
    work = _Work(plan, {key: _renamed(trace, plan) for key, trace in known.items()}, reused=len(known))
    _ask(work, teacher, prompter, store, traces, stage.progress)
    _judge(work, teacher, traces)
    _write(stage, work, mine)
    _describe(stage, work, teacher_config, shard)


def _read_teacher(folder: Path) -> Any:
    """The teacher that ``select_teacher`` decided on."""
    path = folder / "teacher.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        decision, config = told["decision"], told["teacher"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path}: not what select_teacher writes ({type(error).__name__}); run it again") from error
    if decision != "distil":
        raise RecipeError(f"{path}: the decision is {decision}, so there is nothing to generate; choose other teachers")
    try:
        return TypeAdapter(TeacherConfig).validate_python(config)
    except ValidationError as error:
        raise RecipeError(
            f"{path}: teacher is not valid ({error.errors()[0]['msg']}); run select_teacher again"
        ) from error


def _identity(config: Any, plan: Plan) -> dict[str, object]:
    """What all traces of a store's group have in common: teacher, prompter, sampling.

    A custom teacher's options and a local one's precision change what it says and stand in no trace key.
    """
    own = {"dtype": config.dtype} if config.type == "transformers" else {}
    if config.type == "custom":
        own = {"import_path": config.import_path, "options": config.options}
    teacher = {"name": plan.teacher, "revision": plan.revision, **own}
    return {"teacher": teacher, "prompter": plan.prompter, "sampling": plan.sampling}


def _renamed(trace: Trace, plan: Plan) -> Trace:
    """A stored trace under this recipe's problem id: another recipe may have read the same question elsewhere."""
    return dataclasses.replace(trace, problem_id=plan.items[trace.key].problem.id)


def _ask(
    work: _Work, teacher: Teacher, prompter: Prompter, store: TraceStore, config: TracesConfig, progress: Progress
) -> None:
    """Ask for everything that is missing until it is there or the budget is spent; store each batch at once.

    The budget is this shard's part of the recipe's. Stored traces count too: a resumed run stops where an
    uninterrupted one would. Replies that are on their way when it is reached are not waited for.
    """
    cap = max(1, config.budget.tokens // config.shards) if config.budget.tokens is not None else None
    missing = work.missing
    spent = work.total_tokens
    started = time.monotonic()
    progress.step(len(work.traces), len(work.plan.items), f"{work.reused} stored before")
    if missing and cap is not None and spent >= cap:
        work.stopped_by = "budget.tokens"
        return
    for replies in teacher.generate(missing, config.sampling) if missing else ():
        _keep(work, replies, prompter, store)
        work.seconds = time.monotonic() - started
        done, total = len(work.traces), len(work.plan.items)
        progress.step(done, total, f"{work.tokens / max(work.seconds, 1e-9):.0f} tokens/s")
        _stop_if_silent(work, teacher)
        if cap is not None and spent + work.tokens >= cap and done < total:
            work.stopped_by = "budget.tokens"
            return
    _keep(work, [failed(request.key, "the teacher gave no reply") for request in work.missing], prompter, store)


def _keep(work: _Work, replies: Sequence[Reply], prompter: Prompter, store: TraceStore) -> None:
    """Failed requests are not stored: the next run asks them again. A batch of nothing but silence is not, either."""
    traces = [work.plan.trace(reply, prompter) for reply in replies]
    if any(_said_something(trace) for trace in traces):
        store.write([trace for trace in traces if not trace.error])
    work.traces.update((trace.key, trace) for trace in traces)
    work.errors += [trace.error for trace in traces if trace.error]
    work.generated += sum(not trace.error for trace in traces)
    work.tokens += sum(trace.completion_tokens for trace in traces)


def _said_something(trace: Trace) -> bool:
    return bool(trace.reasoning or trace.answer)


def _stop_if_silent(work: _Work, teacher: Teacher) -> None:
    if len(work.traces) >= _SILENT_AFTER:
        _refuse_silence(work, teacher)


def _refuse_silence(work: _Work, teacher: Teacher) -> None:
    answered = [trace for trace in work.traces.values() if not trace.error]
    if answered and not any(_said_something(trace) for trace in answered):
        raise RecipeError(
            f"teacher {teacher.name}: all of its {len(answered)} replies are empty; "
            "check its chat template, traces.prompter and traces.sampling.max_tokens"
        )


def _judge(work: _Work, teacher: Teacher, config: TracesConfig) -> None:
    """Whether what came is enough to go on with. All that is good is stored by now."""
    _refuse_silence(work, teacher)
    asked = len(work.traces)
    if len(work.errors) > config.max_error_share * asked:
        raise TransientError(
            f"teacher {teacher.name}: {len(work.errors)} of {asked} requests got no reply (first: {work.errors[0]}), "
            f"traces.max_error_share allows {config.max_error_share:g}; run again, only these are asked again"
        )


def _write(stage: Stage[GenerateConfig], work: _Work, problems: Sequence[Problem]) -> None:
    ordered = [work.traces[key] for key in work.plan.items if key in work.traces]
    write_rows(stage.output / "traces.parquet", ordered, Trace)
    write_rows(stage.output / "problems.parquet", problems, Problem)


def _describe(stage: Stage[GenerateConfig], work: _Work, teacher: Any, shard: int) -> None:
    rate = work.tokens / work.seconds if work.seconds else 0.0
    num_problems = len({item.problem.hash for item in work.plan.items.values()})
    price = getattr(teacher, "price_per_million_tokens", 0.0)
    stage.details = {
        "teacher": {
            "name": work.plan.teacher,
            "model": getattr(teacher, "model", getattr(teacher, "import_path", "")),
            "revision": work.plan.revision,
            "licence": getattr(teacher, "licence", ""),
        },
        "shard": shard,
        "shards": stage.config.traces.shards,
        "problems": num_problems,
        "traces": len(work.traces),
        "generated": work.generated,
        "reused": work.reused,
        "errors": len(work.errors),
        "tokens": work.total_tokens,
        "tokens_per_s": round(rate, 1),
        "stopped_by": work.stopped_by,
    }
    counts = ("problems", "traces", "generated", "reused", "errors", "tokens", "tokens_per_s")
    stage.metrics = {name: float(stage.details[name]) for name in counts}
    stage.cost = {
        "teacher_tokens": float(work.tokens),
        "teacher_requests": float(work.generated + len(work.errors)),
        "seconds": round(work.seconds, 3),
        "currency": work.tokens * price / 1e6,
    }
    stage.headline = (
        f"{len(work.traces)} traces of {num_problems} problems by {work.plan.teacher} "
        f"({work.generated} new, {work.reused} stored before"
        + (f", {len(work.errors)} failed" if work.errors else "")
        + (f", stopped by {work.stopped_by}" if work.stopped_by else "")
        + ")"
    )
