"""The stage ``evaluate_student``: the student before and after, its control and its teacher on the same items.

Knows which arms there are and which files come out. How an item is asked and graded is ``benchmark``'s business, how
sure a number is ``statistics``'. Beside the stage stands ``score_model``: one more arm on the same items, for the gate.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stillhouse.data import benchmark_digest
from stillhouse.errors import RecipeError
from stillhouse.evaluation import scores
from stillhouse.evaluation.arms import Arm, Manner, model_arm, read_teacher, teacher_arm
from stillhouse.evaluation.benchmark import ArmResult, Questions, measure, prepare
from stillhouse.progress import Progress
from stillhouse.prompting.base import Prompter, open_prompter
from stillhouse.recipe.refusal import validate
from stillhouse.recipe.stages import EvaluateConfig
from stillhouse.recipe.teacher import ModelRef
from stillhouse.stage import Stage, run_stage
from stillhouse.summary import StageSummary
from stillhouse.workspace import Workspace


def run(
    config: EvaluateConfig | Mapping[str, Any],
    *,
    model: str | Path,
    teacher: str | Path,
    output: str | Path,
    workspace: str | Path,
) -> StageSummary:
    """See ``stillhouse.evaluation.evaluate_student``."""
    inputs = {"model": [Path(model)], "teacher": [Path(teacher)]}
    return run_stage(_checked(config), _body, output=Path(output), workspace=workspace, inputs=inputs)


def score_model(
    ref: ModelRef, config: EvaluateConfig | Mapping[str, Any], workspace: str | Path, arm: str = "champion"
) -> dict[str, Any]:
    """See ``stillhouse.evaluation.score_model``."""
    checked, space = _checked(config), Workspace.open(workspace)
    questions, prompter = _questions(checked), open_prompter(checked.evaluate.prompter)
    champion = model_arm(arm, ref, _manner(checked), space)
    found = _measure_arm(champion, questions, prompter, Progress("evaluate_student", arm))
    return scores.score_table({name: {arm: result} for name, result in found.items()})


def _checked(config: EvaluateConfig | Mapping[str, Any]) -> EvaluateConfig:
    if isinstance(config, EvaluateConfig):
        return config
    checked: EvaluateConfig = validate(EvaluateConfig, dict(config), "evaluate_student config")
    return checked


def _body(stage: Stage[EvaluateConfig]) -> None:
    config, section = stage.config, stage.config.evaluate
    prompter = open_prompter(section.prompter)
    questions = _questions(config)
    arms = _arms(stage)
    results: dict[str, dict[str, ArmResult]] = {one.name: {} for one in questions}
    for arm in arms:
        for benchmark, result in _measure_arm(arm, questions, prompter, stage.progress).items():
            results[benchmark][arm.name] = result
    rows = scores.result_rows(results, section.confidence)
    stage.details = {
        "arms": [arm.name for arm in arms],
        "confidence": section.confidence,
        "benchmark_digest": benchmark_digest([item.problem for one in questions for item in one.items]),
        "results": rows,
        "comparisons": scores.comparison_rows(results, section.confidence, config.seed),
        "samples": scores.shown_samples(results),
    }
    stage.metrics = scores.metrics_of(rows)
    stage.cost = _cost(results)
    stage.headline = scores.headline_of(rows)
    _record_inputs(stage, questions)
    _write(stage.output, results)


def _record_inputs(stage: Stage[EvaluateConfig], questions: Sequence[Questions]) -> None:
    for one, benchmark in zip(questions, stage.config.evaluate.benchmarks, strict=True):
        problems = [item.problem for item in one.items]
        source = getattr(benchmark.problems, "path", benchmark.problems.type)
        stage.tracker.dataset(one.name, benchmark_digest(problems), source, len(problems), context="evaluation")


def _questions(config: EvaluateConfig) -> list[Questions]:
    names = Counter(benchmark.name for benchmark in config.evaluate.benchmarks)
    name, count = names.most_common(1)[0]
    if count > 1:
        raise RecipeError(f"evaluate.benchmarks: the name {name} stands twice; give each benchmark its own")
    prompter = open_prompter(config.evaluate.prompter)
    return [prepare(benchmark, prompter, config.seed) for benchmark in config.evaluate.benchmarks]


def _manner(config: EvaluateConfig) -> Manner:
    section = config.evaluate
    return Manner(section.prompter, section.sampling, section.batch_size, config.library)


def _arms(stage: Stage[EvaluateConfig]) -> list[Arm]:
    """Before, after, and the control and the teacher where there are any; each is checked before any is asked."""
    config, space, trained = stage.config, stage.workspace, stage.input("model")
    manner = _manner(config)
    arms = [
        model_arm("before", config.student, manner, space),
        model_arm("after", ModelRef(model=str(trained / "model")), manner, space),
    ]
    if (trained / "control").is_dir():
        arms.append(model_arm("control", ModelRef(model=str(trained / "control")), manner, space))
    chosen = read_teacher(stage.input("teacher")) if config.evaluate.teacher else None
    if chosen is not None:
        arms.append(teacher_arm("teacher", chosen, manner, space))
    return arms


def _measure_arm(
    arm: Arm, questions: Sequence[Questions], prompter: Prompter, progress: Progress
) -> dict[str, ArmResult]:
    """One arm on all benchmarks in one go, so that its weights are loaded once and batches are full."""
    requests = [request for one in questions for request in one.requests]
    on_done = partial(progress.step, total=len(requests), note=arm.name)
    replies = arm.ask(requests, on_done)
    return {one.name: measure(arm.name, one, replies, prompter) for one in questions}


def _cost(results: Mapping[str, Mapping[str, ArmResult]]) -> dict[str, float]:
    """What the teacher's arm takes, also when its replies are found from an earlier run."""
    taught = [arms["teacher"] for arms in results.values() if "teacher" in arms]
    tokens = sum(one.tokens for result in taught for replies in result.graded.values() for one in replies)
    return {"teacher_tokens": tokens, "teacher_requests": sum(len(result.questions.requests) for result in taught)}


def _write(output: Path, results: Mapping[str, Mapping[str, ArmResult]]) -> None:
    table = json.dumps(scores.score_table(results), sort_keys=True)
    (output / "scores.json").write_text(table + "\n", encoding="utf-8")
    with (output / "samples.jsonl").open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in scores.sample_rows(results))
