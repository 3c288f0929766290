"""Combinations that cannot work, found from the recipe alone, before any model loads.

One function for each rule; every rule says everything it found. Knows the plug-ins by their cards only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

from stillhouse.errors import nearest
from stillhouse.recipe.base import Custom
from stillhouse.recipe.cluster_rules import wrong_cluster
from stillhouse.recipe.data import FileProblems, ProblemSource, ZooProblems
from stillhouse.recipe.evaluation import Benchmark
from stillhouse.recipe.imports import custom_imports
from stillhouse.recipe.refusal import refuse
from stillhouse.recipe.schema import Recipe
from stillhouse.recipe.sources import row_count

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_A_TEACHERS = re.compile(
    r"(?i)(AWS|AZURE|GOOGLE|GCP|HF|HUGGING_?FACE|MLFLOW|KFP?|KUBE\w*|STILLHOUSE|PYTHON\w*|LD|PG\w*|DATABASE|GITHUB|DOCKER)"
    r"(_|$)|PATH$|HOME$"
)
_METRIC = re.compile(r"(?P<name>[^.]*)(?:\.avg_at_(?P<k>[0-9]+))?")


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe that cannot work.

    Raises:
        RecipeError: one for all problems, a line each: the field, its value, what would be right.
    """
    refuse(f"recipe {recipe.name}", [line for rule in RULES for line in rule(recipe)])


def _teacher_access(recipe: Recipe) -> Iterator[str]:
    """Objectives on logits need weights of the teacher, and ids that mean the same tokens for both models.

    Custom candidates and objectives pass: what they offer and need is known only when they are imported.
    """
    objective = recipe.train.objective
    if isinstance(objective, Custom) or "teacher_logits" not in objective.card.needs:
        return
    path = f"train.objective.type = {objective.type!r}"
    for index, candidate in enumerate(recipe.teacher.candidates):
        if isinstance(candidate, Custom):
            continue
        place = f"teacher.candidates.{index} ({candidate.name})"
        if candidate.card.access != "white":
            yield (
                f"{path}: needs the teacher's logits, but {place} is of type {candidate.type!r}, a black box; "
                "use type: transformers for it, or train.objective.type: sft"
            )
            continue
        known = recipe.student.tokenizer_digest, candidate.tokenizer_digest
        if all(known) and known[0] != known[1]:
            yield (
                f"{path}: compares logits token by token, but {place} has another tokenizer than the student "
                f"({candidate.model}: {known[1][:12]}, {recipe.student.model}: {known[0][:12]}); "
                "use a teacher of the student's family, or train.objective.type: sft"
            )


def _keys(recipe: Recipe) -> Iterator[str]:
    """A recipe chooses where a key is sent, so it may name only variables that hold a teacher's."""
    for index, candidate in enumerate(recipe.teacher.candidates):
        if candidate.type != "openai":
            continue
        path = f"teacher.candidates.{index}"
        if not _VARIABLE.fullmatch(candidate.api_key_env) or _NOT_A_TEACHERS.match(candidate.api_key_env):
            yield (
                f"{path}.api_key_env = {candidate.api_key_env!r}: must name a variable that holds this teacher's key "
                "and nothing else's, such as OPENAI_API_KEY"
            )
        for place, endpoint in enumerate(candidate.endpoints):
            if "@" in endpoint or "?" in endpoint:
                yield (
                    f"{path}.endpoints.{place}: holds a user name, a password or a query; the key belongs into the "
                    f"variable that api_key_env names ({candidate.api_key_env})"
                )


def _names(recipe: Recipe) -> Iterator[str]:
    candidates = [item.name for item in recipe.teacher.candidates if not isinstance(item, Custom)]
    benchmarks = [item.name for item in recipe.evaluate.benchmarks]
    for path, names in (("teacher.candidates", candidates), ("evaluate.benchmarks", benchmarks)):
        for name, count in Counter(names).items():
            if count > 1:
                yield f"{path}: the name {name!r} stands there {count} times; names must differ"


def _metrics(recipe: Recipe) -> Iterator[str]:
    benchmarks = {item.name: item for item in recipe.evaluate.benchmarks}
    for part in ("require", "non_inferior"):
        for index, rule in enumerate(getattr(recipe.gate, part)):
            what = _wrong_metric(rule.metric, benchmarks)
            if what:
                yield f"gate.{part}.{index}.metric = {rule.metric!r}: {what}"


def _wrong_metric(metric: str, benchmarks: dict[str, Benchmark]) -> str:
    found = _METRIC.fullmatch(metric)
    name = found["name"] if found else metric.partition(".")[0]
    if name not in benchmarks:
        return f"no such benchmark; {nearest(name, benchmarks)}"
    samples = benchmarks[name].samples
    if found is None:
        return f"must be {name!r} or '{name}.avg_at_{samples}'"
    if found["k"] is not None and int(found["k"]) != samples:
        return f"{name} has samples = {samples}; write '{name}.avg_at_{samples}' or change the samples"
    return ""


def _overlap(recipe: Recipe) -> Iterator[str]:
    """A student measured on what it was trained on proves nothing."""
    training = recipe.data.problems
    for index, benchmark in enumerate(recipe.evaluate.benchmarks):
        what = _overlaps(benchmark, training)
        if what:
            yield f"evaluate.benchmarks.{index}.problems ({benchmark.name}): {what}"


def _overlaps(benchmark: Benchmark, training: ProblemSource) -> str:
    source = benchmark.problems
    if isinstance(source, FileProblems) and isinstance(training, FileProblems):
        if source.path == training.path:
            return f"path = {source.path!r} is also data.problems.path; measure on other problems"
        if source.digest and source.digest == training.digest:
            return f"{source.path} has the same content as data.problems, {training.path}; measure on other problems"
    if isinstance(source, ZooProblems):
        if source.split == "train" and benchmark.role == "in_domain":
            return "split = 'train' is for training; use split: eval"
        if isinstance(training, ZooProblems) and source.split == training.split:
            shared = sorted(set(source.families) & set(training.families))
            if shared:
                return f"split = {source.split!r} of {', '.join(shared)} is also in data.problems; use another split"
    return ""


def _selection(recipe: Recipe) -> Iterator[str]:
    select = recipe.teacher.select
    if select.key == "pilot_gain" and select.pilot is None:
        yield (
            "teacher.select.key = 'pilot_gain': needs teacher.select.pilot, such as {traces: 400, steps: 200}; "
            "or use another key"
        )
    rows = row_count(recipe.data.problems)
    if rows is not None and recipe.data.probe >= rows:
        yield f"data.probe = {recipe.data.probe}: must be smaller than the number of problems, {rows}"


def _filters(recipe: Recipe) -> Iterator[str]:
    """Selectors that read an annotation need its annotator; a custom one may write it too."""
    annotators = {item.type for item in recipe.filter.annotate}
    for index, selector in enumerate(recipe.filter.select):
        needed = {"verified": "math_verify", "repetition": "text_stats"}.get(selector.type)
        if needed and not annotators & {needed, "custom"}:
            yield (
                f"filter.select.{index}.type = {selector.type!r}: needs the annotator {needed} in filter.annotate "
                f"(there: {', '.join(sorted(annotators)) or 'none'})"
            )
        if selector.type == "length" and selector.min_tokens > selector.max_tokens:
            yield (
                f"filter.select.{index}.min_tokens = {selector.min_tokens}: "
                f"must not exceed max_tokens, {selector.max_tokens}"
            )


def _licences(recipe: Recipe) -> Iterator[str]:
    """Unknown licences pass here; the gate decides on them with the model at hand."""
    allowed = {licence.casefold() for licence in recipe.gate.licences}
    if not allowed:
        return
    candidates = {
        f"teacher.candidates.{index}": item
        for index, item in enumerate(recipe.teacher.candidates)
        if not isinstance(item, Custom)
    }
    for path, model in {**candidates, "student": recipe.student}.items():
        if model.licence and model.licence.casefold() not in allowed:
            yield (
                f"{path}.licence = {model.licence!r}: gate.licences allows only {', '.join(recipe.gate.licences)}; "
                "add it there or use another model"
            )


def _cluster(recipe: Recipe) -> Iterator[str]:
    return wrong_cluster(recipe.cluster)


RULES: tuple[Callable[[Recipe], Iterator[str]], ...] = (
    _teacher_access,
    _keys,
    _names,
    _metrics,
    _overlap,
    _selection,
    _filters,
    _licences,
    custom_imports,
    _cluster,
)
