"""The pages as text: everything is said, nothing is executed, nothing is fetched."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from typing import Any

import pytest

from stillhouse.report import RunFacts, run_report, stage_page
from stillhouse.report.page import SECTIONS
from stillhouse.report.views.lineage import graph_nodes
from stillhouse.report.views.run import headline
from stillhouse.summary import StageSummary

RUNS = ("finished_run", "failed_run", "refused_run", "undistilled_run", "empty_run")


class Strict(HTMLParser):
    """Fails on an element that is closed in the wrong order; collects tags, attributes and ids."""

    VOID = frozenset({"meta", "link", "br", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()


def parse(html: str) -> Strict:
    parser = Strict()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


@pytest.mark.parametrize("name", RUNS)
def test_a_report_is_well_formed_with_every_section_and_unique_ids(example: dict[str, Any], name: str) -> None:
    page = parse(run_report(example[name]()))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {"verdict", *SECTIONS} <= set(ids)
    assert {attrs["href"] for tag, attrs in page.tags if tag == "a"} == {f"#{name}" for name in ("main", *SECTIONS)}


@pytest.mark.parametrize("name", RUNS)
def test_a_report_executes_and_fetches_nothing(example: dict[str, Any], name: str) -> None:
    html = run_report(example[name]())
    page = parse(html)
    assert not {"script", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not [attrs for _, attrs in page.tags for key in attrs if key.startswith("on")]
    assert [attrs.get("href") for tag, attrs in page.tags if tag == "link"] == ["data:,"]
    assert "url(" not in html
    assert "http" not in re.sub(r"http-equiv", "", html)


def test_a_script_in_a_reply_a_prompt_or_an_error_is_only_text(example: dict[str, Any]) -> None:
    run = example["failed_run"]()
    run.summaries = example["finished_run"]().summaries
    run.error = run.name = example["HOSTILE"]
    run.recipe = {"name": "</pre><script>alert(1)</script>"}
    html = run_report(run)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 6
    parse(html)


def test_every_plot_is_labelled_and_every_header_has_a_scope(example: dict[str, Any]) -> None:
    page = parse(run_report(example["finished_run"]()))
    plots = [attrs for tag, attrs in page.tags if tag == "svg" and "aria-hidden" not in attrs]
    assert len(plots) > 10
    assert all(attrs.get("role") == "img" and attrs.get("aria-label") for attrs in plots)
    assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th")


def test_the_numbers_of_the_run_are_on_the_page(example: dict[str, Any]) -> None:
    run = example["finished_run"]()
    html = run_report(run)
    for said in (
        "arithmetic-student v1 is champion",
        "1,167 of 2,048 kept (57.0 %)",
        "terse",
        "[94.5, 99.6]",
        "duplicate_trace",
        "answers only",
        run.details("filter_traces")["dataset_digest"],
        run.details("register_student")["evidence_sha256"],
        "2 min 41 s",
        "106,830",
    ):
        assert said in html, said


def test_a_failed_run_says_which_stage_failed_why_and_what_finished(example: dict[str, Any]) -> None:
    html = run_report(example["failed_run"]())
    assert "Failed in train_student" in html
    assert "No space left on device" in html
    assert 'data-absent="evaluate_student"' in html
    assert "1,167 of 2,048 kept" in html
    assert html.index('id="cost"') < html.index('id="teachers"') < html.index('id="training"')


@pytest.mark.parametrize(
    ("name", "tone", "title"),
    [
        ("finished_run", "good", "arithmetic-student v1 is champion"),
        ("refused_run", "bad", "arithmetic-student v1 was not promoted"),
        ("undistilled_run", "calm", "Do not distil"),
        ("failed_run", "bad", "Failed in train_student"),
        ("empty_run", "bad", "Failed in select_teacher"),
    ],
)
def test_the_headline_is_the_run_in_one_sentence(example: dict[str, Any], name: str, tone: str, title: str) -> None:
    found = headline(example[name]())
    assert (found.tone, found.title) == (tone, title)


def test_a_refused_student_shows_the_check_that_failed(example: dict[str, Any]) -> None:
    assert "must reach +95.0" in headline(example["refused_run"]()).text


def test_the_lineage_names_every_link_and_marks_what_did_not_run(example: dict[str, Any]) -> None:
    kinds = ["recipe", "teacher", "traces", "filters", "dataset", "training", "evaluation", "verdict"]
    assert [node.kind for node in graph_nodes(example["finished_run"]())] == kinds
    states = [node.state for node in graph_nodes(example["failed_run"]())]
    assert states == ["ok"] * 5 + ["bad", "missing", "missing"]


def test_a_chain_that_was_read_back_from_mlflow_is_drawn_without_summaries() -> None:
    chain = {"nodes": [{"kind": "teacher", "title": "terse", "facts": {"revision": "22ae9d"}}]}
    assert "revision 22ae9d" in run_report(RunFacts(name="old", lineage=chain))


@pytest.mark.parametrize("index", range(8))
def test_every_stage_has_a_page_of_its_own(example: dict[str, Any], index: int) -> None:
    summary = example["finished_run"]().summaries[index]
    html = stage_page(summary)
    page = parse(html)
    assert summary.headline in html
    assert summary.key in html
    assert "data-absent" not in html
    assert "script" not in {tag for tag, _ in page.tags}


def test_a_stage_page_survives_details_that_lack_optional_values() -> None:
    details = {
        "decision": "distil",
        "chosen": "a",
        "candidates": [{"name": "a", "accuracy": None, "rank": None, "reasons": ["no reply"]}],
    }
    assert "no reply" in stage_page(StageSummary(stage="select_teacher", key="k", details=details))
    assert "mine" in stage_page(StageSummary(stage="a_stage_of_tomorrow", key="k", headline="mine"))


def test_the_same_facts_give_the_same_bytes(example: dict[str, Any]) -> None:
    assert run_report(example["finished_run"]()) == run_report(example["finished_run"]())


def test_the_report_is_made_in_two_seconds_and_loads_nothing_heavy(example: dict[str, Any]) -> None:
    heavy = "('torch', 'transformers', 'mlflow', 'matplotlib', 'pandas', 'pyarrow')"
    code = (
        f"import stillhouse.report.page, stillhouse.report.text, sys; print([m for m in {heavy} if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
    started = time.monotonic()
    run_report(example["finished_run"]())
    assert time.monotonic() - started < 2
