"""The lineage graph: recipe, teacher revision, traces, filters, dataset, training, evaluation, verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from stillhouse.digest import sha256_json
from stillhouse.report import formats
from stillhouse.report.facts import RunFacts
from stillhouse.report.graph import Node, lineage_graph
from stillhouse.report.plots import NARROW
from stillhouse.report.views.evaluation import benchmarks

_WIDTH = 976


def lineage(run: RunFacts) -> dict[str, Any]:
    """The graph, from the summaries or else from a recorded chain, and the full digests as a table."""
    recorded = run.lineage.get("nodes", [])
    nodes = graph_nodes(run) if run.summaries or not recorded else [_recorded(item) for item in recorded]
    wide, narrow = lineage_graph(nodes, _WIDTH), lineage_graph(nodes, NARROW)
    return {
        "plot": Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(wide, narrow),
        "digests": _digests(run),
        "recorded": [
            (item["kind"], item["title"], [f"{name} {value}" for name, value in item.get("facts", {}).items()])
            for item in recorded
        ],
    }


def _recorded(item: Mapping[str, Any]) -> Node:
    """A node of a chain that was read back from MLflow, where there are no summaries."""
    lines = (f"{name} {value}" for name, value in item.get("facts", {}).items() if value)
    return Node(kind=item["kind"], title=item["title"], lines=tuple(lines)[:2])


def graph_nodes(run: RunFacts) -> list[Node]:
    """The eight links of the chain; what did not run is there too, as missing."""
    links = [
        (
            "recipe",
            "",
            str(run.recipe.get("name", run.name)),
            (f"seed {run.recipe.get('seed', formats.DASH)}", _sha(recipe_digest(run))),
        ),
        ("teacher", "select_teacher", *_teacher(run)),
        ("traces", "generate_traces", *_traces(run)),
        ("filters", "filter_traces", *_filters(run)),
        ("dataset", "filter_traces", *_dataset(run)),
        ("training", "train_student", *_training(run)),
        ("evaluation", "evaluate_student", *_evaluation(run)),
        ("verdict", "register_student", *_verdict(run)),
    ]
    return [
        Node(kind=kind, title=title, lines=tuple(lines), state="ok")
        if not stage or run.one(stage)
        else _missing(run, kind, stage)
        for kind, stage, title, lines in links
    ]


def recipe_digest(run: RunFacts) -> str:
    """sha256 of the resolved recipe, empty where it is not known."""
    return sha256_json(run.recipe) if run.recipe else ""


def _missing(run: RunFacts, kind: str, stage: str) -> Node:
    if stage == run.broken_stage():
        return Node(kind=kind, title="failed", lines=(stage,), state="bad")
    return Node(kind=kind, title="did not run", lines=(stage,), state="missing")


def _sha(digest: str | None) -> str:
    return f"sha256:{formats.short(digest)}" if digest else ""


def _teacher(run: RunFacts) -> tuple[str, tuple[str, ...]]:
    details = run.details("select_teacher")
    chosen: Mapping[str, Any] = next(
        (row for row in details.get("candidates", []) if row.get("name") == details.get("chosen")), {}
    )
    revision = f"revision {formats.short(chosen.get('revision'))}" if chosen.get("revision") else ""
    return details.get("chosen") or "none", (chosen.get("model", ""), revision)


def _traces(run: RunFacts) -> tuple[str, tuple[str, ...]]:
    shards = [summary.details for summary in run.all("generate_traces")]
    traces, tokens = (sum(shard.get(name) or 0 for shard in shards) for name in ("traces", "tokens"))
    return f"{formats.count(traces)} traces", (f"{formats.count(tokens)} tokens", f"{len(shards)} shards")


def _filters(run: RunFacts) -> tuple[str, tuple[str, ...]]:
    details = run.details("filter_traces")
    steps = max(0, len(details.get("funnel", [])) - 1)
    kept = f"{formats.count(details.get('positive'))} of {formats.count(details.get('total'))} kept"
    return kept, (f"{steps} selectors", f"{formats.count(details.get('negative'))} negatives")


def _dataset(run: RunFacts) -> tuple[str, tuple[str, ...]]:
    details = run.details("filter_traces")
    return formats.short(details.get("dataset_digest")), (
        f"{formats.count(details.get('positive'))} examples",
        "dataset digest",
    )


def _training(run: RunFacts) -> tuple[str, tuple[str, ...]]:
    details = run.details("train_student")
    steps = details.get("arms", {}).get("student", {}).get("steps")
    student = str((run.recipe.get("student") or {}).get("model", ""))
    title = f"{details.get('objective', '')}, {details.get('tuning', '')}"
    return title, (
        f"{formats.count(steps)} steps from {student}",
        f"weights {formats.short(details.get('weights_sha256'))}",
    )


def _evaluation(run: RunFacts) -> tuple[str, tuple[str, ...]]:
    details = run.details("evaluate_student")
    return ", ".join(benchmarks(details)), (
        f"{len(details.get('arms', []))} models compared",
        _sha(details.get("benchmark_digest")),
    )


def _verdict(run: RunFacts) -> tuple[str, tuple[str, ...]]:
    details = run.details("register_student")
    version = f"{details.get('name', '')} v{details.get('version', '')}"
    return str(details.get("verdict", "")), (version, f"evidence {formats.short(details.get('evidence_sha256'))}")


def _digests(run: RunFacts) -> list[tuple[str, str]]:
    evaluated, registered = run.details("evaluate_student"), run.details("register_student")
    rows = [
        ("recipe", recipe_digest(run)),
        ("dataset", run.details("filter_traces").get("dataset_digest", "")),
        ("student weights", run.details("train_student").get("weights_sha256", "")),
        ("benchmarks", evaluated.get("benchmark_digest", "")),
        ("registered model", registered.get("model_sha256", "")),
        ("evidence", registered.get("evidence_sha256", "")),
    ]
    return [(name, digest) for name, digest in rows if digest]
