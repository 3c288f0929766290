"""The way from a recipe to a verdict, as plain data: small enough for a tag, complete enough to stand alone.

Built from the stages' summaries alone. Knows neither MLflow nor files; ``lookup`` finds a chain again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stillhouse.summary import StageSummary

SCHEMA = 1
Facts = dict[str, Any]


@dataclass(frozen=True)
class Node:
    """One step of a chain: what it is, a line that people read, and the facts behind it (JSON values)."""

    kind: str
    title: str
    facts: Facts


@dataclass(frozen=True)
class Chain:
    """The steps in order. ``model`` is the version's address, empty while there is none."""

    nodes: tuple[Node, ...]
    model: str = ""

    def node(self, kind: str) -> Node | None:
        return next((node for node in self.nodes if node.kind == kind), None)

    def named(self, model: str) -> Chain:
        return replace(self, model=model)

    def text(self) -> str:
        """For a terminal: one line for each step, its facts indented below it."""
        lines = [self.model] if self.model else []
        for node in self.nodes:
            lines.append(f"{node.kind:<11} {node.title}")
            lines += [f"{'':<11}   {key}: {_plain(value)}" for key, value in node.facts.items()]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        nodes = [{"kind": node.kind, "title": node.title, "facts": node.facts} for node in self.nodes]
        return {"schema": SCHEMA, "model": self.model, "nodes": nodes}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Chain:
        nodes = tuple(Node(item["kind"], item["title"], dict(item["facts"])) for item in plain["nodes"])
        return cls(nodes, plain.get("model", ""))


def build_chain(summaries: Iterable[StageSummary], recipe_sha256: str) -> Chain:
    """The chain of the stages that are there; after a failure that is the chain up to it."""
    stages: dict[str, list[StageSummary]] = {}
    for summary in summaries:
        stages.setdefault(summary.stage, []).append(summary)
    first = next((items[0] for items in stages.values()), None)
    recipe = Node(
        "recipe",
        f"sha256:{recipe_sha256[:12]}" if recipe_sha256 else "not recorded",
        {"sha256": recipe_sha256, "library": first.version if first else ""},
    )
    nodes = [recipe]
    for stage, build in _BUILDERS:
        if items := stages.get(stage):
            nodes.append(build(sorted(items, key=lambda item: (len(item.part), item.part, item.key))))
    return Chain(tuple(nodes))


def _teacher(items: Sequence[StageSummary]) -> Node:
    details = items[0].details
    candidates = details.get("candidates", [])
    chosen: Facts = next((item for item in candidates if item.get("name") == details.get("chosen")), {})
    facts: Facts = {
        name: chosen[name] for name in ("name", "model", "revision", "licence", "accuracy") if name in chosen
    }
    facts |= {"decision": details.get("decision", ""), "reason": details.get("reason", "")}
    facts |= {"candidates": len(candidates), "stage_key": items[0].key}
    title = f"{chosen.get('name', 'none chosen')} ({chosen['model']})" if "model" in chosen else "none chosen"
    return Node("teacher", title, facts)


def _traces(items: Sequence[StageSummary]) -> Node:
    def total(name: str) -> int:
        return int(sum(item.details.get(name, 0) for item in items))

    facts: Facts = {name: total(name) for name in ("problems", "traces", "tokens", "errors")}
    facts |= {"shards": len(items), "digests": [item.digest[:16] for item in items], "teacher": _asked(items[0])}
    return Node("traces", f"{facts['traces']} traces of {facts['problems']} problems", facts)


def _asked(item: StageSummary) -> Facts:
    return _some(item.details.get("teacher", {}), "name", "model", "revision", "licence")


def _filters(items: Sequence[StageSummary]) -> Node:
    details = items[0].details
    facts: Facts = {name: details.get(name, 0) for name in ("total", "positive", "negative", "dropped")}
    reasons = sorted(details.get("reasons", {}).items(), key=lambda item: (-item[1], item[0]))
    facts |= {"reasons": dict(reasons[:12]), "stage_key": items[0].key}
    return Node("filters", f"kept {facts['positive']} of {facts['total']}", facts)


def _dataset(items: Sequence[StageSummary]) -> Node:
    details = items[0].details
    digest = str(details.get("dataset_digest", ""))
    return Node("dataset", f"sha256:{digest[:12]}", {"digest": digest, "rows": details.get("positive", 0)})


def _training(items: Sequence[StageSummary]) -> Node:
    details, student = items[0].details, items[0].config.get("student", {})
    arm = details.get("arms", {}).get("student", {})
    facts: Facts = {
        name: details[name] for name in ("objective", "tuning", "examples", "weights_sha256") if name in details
    }
    facts |= {name: arm[name] for name in ("steps", "tokens", "final_loss") if name in arm}
    facts |= {"student": student.get("model", ""), "student_revision": student.get("revision", "")}
    facts["stage_key"] = items[0].key
    title = f"{facts.get('objective', '?')} from {facts['student']}, {facts.get('steps', '?')} steps"
    return Node("training", title, facts)


def _evaluation(items: Sequence[StageSummary]) -> Node:
    details = items[0].details
    facts: Facts = {}
    for row in details.get("results", []):
        low, high = row["interval"]
        arms = facts.setdefault(row["benchmark"], {"n": row["n"], "k": row["k"]})
        arms[row["arm"]] = [round(float(value), 4) for value in (row["avg_at_k"], low, high)]
        if row["arm"] == "after":
            arms |= _some(row, "truncation_rate", "tokens_per_answer")
    title = "; ".join(
        f"{name} {_share(arms['before'])} -> {_share(arms['after'])}"
        for name, arms in facts.items()
        if "before" in arms and "after" in arms
    )
    facts |= {"benchmark_digest": details.get("benchmark_digest", ""), "stage_key": items[0].key}
    return Node("evaluation", title, facts)


def _verdict(items: Sequence[StageSummary]) -> Node:
    details = items[0].details
    facts: Facts = {name: details.get(name, "") for name in ("verdict", "against", "evidence_sha256", "name")}
    facts |= {"checks": [check["text"] for check in details.get("checks", [])], "stage_key": items[0].key}
    return Node("verdict", f"{facts['verdict']} against {facts['against']}", facts)


_BUILDERS: tuple[tuple[str, Callable[[Sequence[StageSummary]], Node]], ...] = (
    ("select_teacher", _teacher),
    ("generate_traces", _traces),
    ("filter_traces", _filters),
    ("filter_traces", _dataset),
    ("train_student", _training),
    ("evaluate_student", _evaluation),
    ("register_student", _verdict),
)


def _some(mapping: Mapping[str, Any], *names: str) -> Facts:
    return {name: mapping[name] for name in names if name in mapping}


def _share(row: Sequence[float]) -> str:
    return f"{100 * row[0]:.1f} % [{100 * row[1]:.1f}, {100 * row[2]:.1f}]"


def _plain(value: Any) -> str:
    """A fact on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        if len(value) == 3 and all(isinstance(item, (int, float)) for item in value):
            return _share(value)
        return "; ".join(_plain(item) for item in value)
    return str(value)
