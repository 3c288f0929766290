"""The report in a real browser: every section is seen, nothing complains, nothing is fetched, a phone will do."""

from __future__ import annotations

import os
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from stillhouse.report import run_report, stage_page
from stillhouse.report.page import SECTIONS

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "report" / "example_run.py"))
RUNS = ("finished_run", "failed_run", "refused_run", "undistilled_run", "empty_run")
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        words = f"no browser found (looked for {', '.join(NAMES)}); install Debian's chromium"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    """``show(html, width=1280, **context options)`` opens a page; what the browser says is checked at the end."""
    complaints: list[str] = []
    requests: list[str] = []
    expected: list[str] = []
    contexts = []

    def open_page(html: str, width: int = 1280, **options: Any) -> Page:
        path = tmp_path / f"page-{len(contexts)}.html"
        path.write_text(html, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        expected.append(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == expected


def overflow(page: Page) -> list[str]:
    """Elements that stick out of the window, except inside something that scrolls by itself."""
    return list(
        page.evaluate(
            """() => [...document.querySelectorAll('body *')]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && e.getBoundingClientRect().width > 0)
            .filter(e => !e.closest('.scroll, nav, pre, svg, .skip')).map(e => e.outerHTML.slice(0, 90))"""
        )
    )


@pytest.mark.parametrize("name", RUNS)
def test_every_section_of_every_kind_of_run_is_visible(show: Any, name: str) -> None:
    page = show(run_report(EXAMPLE[name]()))
    for section in ("verdict", *SECTIONS):
        assert page.locator(f"#{section}").is_visible(), section
        assert page.locator(f"#{section} h1, #{section} h2").first.inner_text().strip()
    assert page.title().endswith("stillhouse report")


def test_the_finished_run_shows_its_plots_tables_and_samples(show: Any) -> None:
    page = show(run_report(EXAMPLE["finished_run"]()))
    for plot in ("scores", "tokens", "funnel", "loss", "lineage"):
        box = page.locator(f"[data-plot={plot}] .wide svg").bounding_box()
        assert box, plot
        assert box["width"] > 700
        assert box["height"] > 100
        assert not page.locator(f"[data-plot={plot}] .narrow svg").first.is_visible()
    assert page.locator("#teachers tbody tr").count() == 4
    assert page.locator("#teachers tbody svg").count() == 4
    assert page.locator("[data-samples=traces] article").count() == 5
    assert page.locator("[data-samples=answers] article").count() == 2
    assert page.locator("#cost tr[data-state=done]").count() == 7
    assert page.locator("[data-absent]").count() == 0
    assert "passed" in page.locator("#gate .facts").inner_text()


def test_the_failed_run_shows_the_error_and_what_finished(show: Any) -> None:
    page = show(run_report(EXAMPLE["failed_run"]()))
    assert "No space left on device" in page.locator("#verdict .error").inner_text()
    assert page.locator("#cost tr[data-stage=train_student]").get_attribute("data-state") == "failed"
    assert page.locator("#cost tr[data-state='not run']").count() == 3
    assert page.locator("[data-plot=funnel] svg").first.is_visible()
    assert page.locator("#training [data-absent=train_student]").is_visible()


def test_a_script_in_a_reply_is_shown_as_text_and_not_run(show: Any) -> None:
    page = show(run_report(EXAMPLE["finished_run"]()))
    assert page.title() != "owned"
    assert "<script>" in page.locator("[data-samples=answers]").inner_text()
    assert page.locator("script, main img").count() == 0


@pytest.mark.parametrize("name", RUNS)
def test_nothing_overflows_on_a_phone(show: Any, name: str) -> None:
    page = show(run_report(EXAMPLE[name]()), width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert overflow(page) == []


def test_a_phone_gets_the_drawings_that_can_be_read_on_it(show: Any) -> None:
    page = show(run_report(EXAMPLE["finished_run"]()), width=390)
    for plot in ("scores", "tokens", "funnel", "loss", "lineage"):
        assert page.locator(f"[data-plot={plot}] .narrow svg").is_visible(), plot
        assert not page.locator(f"[data-plot={plot}] .wide svg").is_visible(), plot
    sizes = page.evaluate(
        """() => [...document.querySelectorAll('.narrow svg text')]
        .map(e => e.getBoundingClientRect().height).filter(h => h)"""
    )
    assert min(sizes) > 10


CONTRAST = """() => {
  const rgb = value => value.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > .9) return c;
    }
  };
  const found = [];
  for (const e of document.querySelectorAll('main *')) {
    const words = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (e.closest('svg') || !words || !e.getClientRects().length) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${e.outerHTML.slice(0, 80)}`);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["finished_run", "failed_run"])
def test_text_has_enough_contrast_in_light_and_dark(show: Any, name: str, scheme: str) -> None:
    page = show(run_report(EXAMPLE[name]()), color_scheme=scheme)
    assert page.evaluate(CONTRAST) == []


def test_dark_is_dark_and_print_is_light(show: Any) -> None:
    page = show(run_report(EXAMPLE["finished_run"]()), color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(18, 22, 27)"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()


@pytest.mark.parametrize("index", range(8))
def test_stage_pages_are_clean_too(show: Any, index: int) -> None:
    page = show(stage_page(EXAMPLE["finished_run"]().summaries[index]), width=390)
    assert page.locator("h1").is_visible()
    assert overflow(page) == []
