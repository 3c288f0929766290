"""Whatever a prompt, a reply, a name or an error holds, a page says it and does nothing with it."""

from __future__ import annotations

import copy
import os
import runpy
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from stillhouse.report import RunFacts, run_report, run_summary, stage_page
from stillhouse.report.svg import Canvas
from stillhouse.summary import StageSummary

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "report" / "example_run.py"))
HOSTILE = (
    "'\"><evil-tag evilattr=1 onload=evil()>{{7*7}}{%evil%}${7*7}</textarea></style></title></pre></script></svg>"
    "<script>evil()</script><svg onload=evil()><text>x</text></svg><img src=x onerror=evil()>javascript:evil()\x1b[31m"
)
"""Breaks out of elements, of attributes in both kinds of quotes, of style and title; asks templates to reckon."""
SHOWN = "{{7*7}}"
KEPT = {"stage", "state", "kind", "verdict", "decision", "started_at", "finished_at"}
"""Words of our own that choose between templates; a hostile one is tried by itself below."""


class Page(HTMLParser):
    """Every tag, every attribute's name and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src", "action", "xlink:href", "style")}

    def handle_data(self, data: str) -> None:
        self.words += data


def assert_harmless(html: str, honest: Page) -> Page:
    """No element, attribute or address that the same page with honest content would not have."""
    page = Page(html)
    assert page.tags <= honest.tags | {"pre", "ul", "li", "details", "summary", "p", "em"}
    assert page.attributes <= honest.attributes
    assert not [name for name in page.attributes if name.startswith(("on", "evil"))]
    assert not page.tags & {"script", "img", "iframe", "object", "embed", "form", "base", "evil-tag", "textarea"}
    assert all(link.startswith(("#", "data:,", "width:")) for link in page.links), page.links
    assert page.words.count("Content-Security-Policy") == 0
    assert "default-src 'none'" in html
    return page


def poisoned(value: Any, name: str = "") -> Any:
    """``value`` with every text in it hostile; names of arms, reasons and metrics too, where they are free."""
    if isinstance(value, str):
        return value if name in KEPT or not value else value + HOSTILE
    if isinstance(value, list):
        return [poisoned(item, name) for item in value]
    if isinstance(value, dict):
        return {poisoned_key(key, name): poisoned(item, key) for key, item in value.items()}
    return value


def poisoned_key(key: str, parent: str) -> str:
    return key + HOSTILE if parent in ("reasons", "replies", "metrics", "config", "inputs", "recipe") else key


def poisoned_summary(summary: StageSummary) -> StageSummary:
    return StageSummary(
        stage=summary.stage,
        key=HOSTILE,
        part=summary.part and HOSTILE,
        config=poisoned(summary.config, "config"),
        inputs=poisoned(summary.inputs, "inputs"),
        digest=HOSTILE,
        metrics=poisoned(summary.metrics, "metrics"),
        details=poisoned(summary.details),
        cost=summary.cost,
        headline=HOSTILE,
        version=HOSTILE,
        started_at=summary.started_at,
        finished_at=summary.finished_at,
        seconds=summary.seconds,
    )


def poisoned_run(name: str) -> RunFacts:
    run = EXAMPLE[name]()
    run.summaries = [poisoned_summary(summary) for summary in run.summaries]
    run.name, run.path = HOSTILE, HOSTILE
    run.error = run.error and HOSTILE
    run.recipe = poisoned(run.recipe, "recipe")
    return run


RUNS = ("finished_run", "failed_run", "refused_run", "undistilled_run", "empty_run")


@pytest.fixture(scope="module")
def honest() -> Page:
    pages = [run_report(EXAMPLE[name]()) for name in RUNS]
    pages += [stage_page(summary) for summary in EXAMPLE["finished_run"]().summaries]
    return Page("".join(pages))


@pytest.mark.parametrize("name", RUNS)
def test_a_report_made_of_hostile_text_says_it_and_does_nothing(honest: Page, name: str) -> None:
    page = assert_harmless(run_report(poisoned_run(name)), honest)
    assert page.words.count(SHOWN) >= (1 if name == "empty_run" else 20)
    assert "<script>evil()</script>" in page.words


@pytest.mark.parametrize("index", range(8))
def test_a_stage_page_made_of_hostile_text_says_it_and_does_nothing(honest: Page, index: int) -> None:
    page = assert_harmless(stage_page(poisoned_summary(EXAMPLE["finished_run"]().summaries[index])), honest)
    assert page.words.count(SHOWN) >= 5


def leaves(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every text and every key in ``value``; of equal entries of a list the first."""
    if isinstance(value, str):
        yield above
    entries = (
        value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else ()
    )
    for key, item in entries:
        if isinstance(key, str):
            yield (*above, ("key", key))
        yield from leaves(item, (*above, key))


def replaced(value: Any, path: tuple[Any, ...]) -> Any:
    step, *rest = path
    if isinstance(step, tuple):
        return {HOSTILE if key == step[1] else key: item for key, item in value.items()}
    changed = copy.copy(value)
    changed[step] = replaced(changed[step], tuple(rest)) if rest else HOSTILE
    return changed


@pytest.mark.parametrize("index", range(8))
def test_each_text_and_each_key_of_a_summary_alone_is_only_text(honest: Page, index: int) -> None:
    """One at a time: also the words that choose between templates, and names that end up in a class or an id."""
    summary = EXAMPLE["finished_run"]().summaries[index]
    paths = list(leaves(summary.details))
    assert paths
    pages = 0
    for path in paths:
        fields = {**vars(summary), "details": replaced(summary.details, path)}
        try:
            html = stage_page(StageSummary(**fields))
        except (KeyError, ValueError, TypeError, IndexError, AttributeError, UndefinedError):
            continue  # a summary that no stage writes may have no page; half a page is what it may not have
        assert_harmless(html, honest)
        pages += 1
    assert pages >= len(paths) / 2


@pytest.mark.parametrize("draw", [
    lambda canvas: canvas.text(1, 1, HOSTILE, HOSTILE),
    lambda canvas: canvas.heading(1, 1, HOSTILE, HOSTILE),
    lambda canvas: canvas.rect(1, 1, 1, 1, HOSTILE, HOSTILE),
    lambda canvas: canvas.line(1, 1, 2, 2, HOSTILE),
    lambda canvas: canvas.circle(1, 1, 1, HOSTILE),
    lambda canvas: canvas.path([(1, 1)], HOSTILE),
])  # fmt: skip
def test_every_shape_of_a_drawing_escapes_what_it_is_given(draw: Callable[[Canvas], None]) -> None:
    canvas = Canvas(10, 10)
    draw(canvas)
    page = Page(str(canvas.render(HOSTILE, standalone=True, cls=HOSTILE)))
    assert page.tags <= {"svg", "title", "style", "text", "tspan", "rect", "line", "circle", "path"}
    assert not [name for name in page.attributes if name.startswith(("on", "evil"))]


def test_the_summary_on_the_terminal_cannot_steer_it(capsys: pytest.CaptureFixture[str]) -> None:
    from stillhouse.cli.console import say, table

    say(run_summary(poisoned_run("finished_run")))
    say(table([{"name": HOSTILE}]))
    told = capsys.readouterr().err
    assert "{{7*7}}" in told
    assert "\x1b" not in told


def test_a_browser_runs_nothing_of_it(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    path = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no browser found; install Debian's chromium")
    names = [*RUNS, *range(8)]
    happened: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"],
        )
        page = browser.new_page()
        page.add_init_script("window.evil = () => { window.owned = true }")
        page.on("dialog", lambda dialog: happened.append(dialog.message))
        page.on("request", lambda request: happened.append(request.url))
        for name in names:
            file = tmp_path / f"{name}.html"
            summaries = EXAMPLE["finished_run"]().summaries
            text = (
                run_report(poisoned_run(name))
                if isinstance(name, str)
                else stage_page(poisoned_summary(summaries[name]))
            )
            file.write_text(text, encoding="utf-8")
            page.goto(file.as_uri())
            assert page.evaluate("window.owned") is None
            assert (
                page.evaluate("document.querySelectorAll('script, img, evil-tag, iframe, [onload], [onerror]').length")
                == 0
            )
            assert "{{7*7}}" in page.inner_text("body")
        browser.close()
    assert [url for url in happened if not url.startswith(("data:", tmp_path.as_uri()))] == []
