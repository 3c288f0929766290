"""What people see of a run: HTML pages and the terminal summary, made from summaries alone.

Lives here: ``facts`` (what is known about a run), ``views`` (one module per part of the page: numbers to words),
``plots`` and ``graph`` on top of ``svg`` (small SVG builders), ``page`` (the HTML), ``text`` (the terminal). Does
not live here: any computation of results, and any reading of models or traces. Pages are one file each, without
scripts and without the network.

To add a section: a function in a module of ``views`` that turns ``details`` into plain values, a template under
``templates/sections``, its name in ``page.SECTIONS``, a line in the browser test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stillhouse.report.facts import RunFacts, read_facts, write_facts

if TYPE_CHECKING:
    from stillhouse.summary import StageSummary


def stage_page(summary: StageSummary) -> str:
    """A self-contained HTML page about one finished stage, for KFP's UI."""
    from stillhouse.report.page import stage_page as page

    return page(summary)


def run_report(run: RunFacts) -> str:
    """The self-contained HTML report of a run, finished or failed."""
    from stillhouse.report.page import run_report as report

    return report(run)


def run_summary(run: RunFacts) -> str:
    """The summary printed at the end of ``stillhouse run``: plain text, at most 100 columns."""
    from stillhouse.report.text import run_summary as summary

    return summary(run)


__all__ = ["RunFacts", "read_facts", "run_report", "run_summary", "stage_page", "write_facts"]
