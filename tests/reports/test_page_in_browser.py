"""The report's page in a real Chromium: it asks nobody, shows the figures, and can be read by everybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from assistantguard._text import dollars, number
from assistantguard.reports import Report, read_report
from assistantguard.reports.page import report_page
from benchmarks._events import write_events
from tests.support.browser import PHONE, WIDE, Visitor, assert_accessible

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = "</script><img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    file = tmp_path_factory.mktemp("events") / "events.jsonl"
    write_events(file, 3000, threads=20, users=6)
    names = ("thread_id", "run_id", "model", "user", "policy", "reason", "kind", "status", "tool", "metric")
    hostile = {**dict.fromkeys(names, HOSTILE), "time": 1_793_500_000.0, "input_tokens": 9, "output_tokens": 10**9}
    more = {"context_tokens": 10**6, "seconds": 1e6, "cost": "1000", "steps": 3, "failed": False}
    more |= {"estimated_input_tokens": 9}
    kinds = (
        "request.settled",
        "run.settled",
        "run.retried",
        "run.cancelled",
        "budget.refused",
        "tool.settled",
        HOSTILE,
    )
    with file.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps({"event": kind, **hostile, **more}) + "\n" for kind in (*kinds, HOSTILE))
    return read_report(file)


@pytest.fixture(scope="module")
def page_url(report: Report, tmp_path_factory: pytest.TempPathFactory) -> str:
    page = tmp_path_factory.mktemp("page") / "out.html"
    page.write_text(report_page(report, sources=HOSTILE), encoding="utf-8")
    return page.as_uri()


def test_names_and_reasons_stay_text(visitor: Visitor, page_url: str) -> None:
    def look(page: Page) -> tuple[str, int, int, str]:
        images, scripts = page.locator("img").count(), page.locator("script").count()
        return page.title(), images, scripts, page.locator("h3", has_text="Thread </script>").first.inner_text()

    title, images, scripts, heading = visitor.visit(page_url, look)
    assert title == "Where the money went: assistantguard report"
    assert (images, scripts) == (0, 1)
    assert "<img src=x onerror=" in heading


def test_the_page_shows_the_figures_of_the_report(visitor: Visitor, page_url: str, report: Report) -> None:
    def look(page: Page) -> tuple[dict[str, str], list[str], list[list[str]]]:
        names = page.locator(".figures dt").all_inner_texts()
        values = page.locator(".figures .value").all_inner_texts()
        rows = page.get_by_role("region", name="By model").get_by_role("row")
        last = rows.last.locator("th, td").all_inner_texts()
        days = page.get_by_role("group").first.locator("tbody tr")
        cells = "rows => rows.map(row => [...row.children].map(cell => cell.textContent))"
        return dict(zip(names, values, strict=True)), last, days.evaluate_all(cells)

    figures, last, days = visitor.visit(page_url, look, scripts=False)
    total = report.books.total
    assert figures["cost"] == dollars(total.cost)
    assert figures["input tokens"] == number(total.input_tokens)
    assert figures["runs"] == number(sum(report.runs.values()))
    assert figures["refused"] == number(sum(report.refusals.values()))
    assert last[:3] == ["all", dollars(total.cost), number(total.count)]
    assert [row[:2] for row in days] == [[day, dollars(tally.cost)] for day, tally in report.books.days.items()]


def test_light_dark_wide_and_narrow_are_accessible(visitor: Visitor, page_url: str) -> None:
    def look(page: Page) -> list[bool]:
        fits: list[bool] = []
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        for scheme, (width, height) in (("light", WIDE), ("dark", PHONE)):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            page.set_viewport_size({"width": width, "height": height})
            assert_accessible(page)
            fits.append(page.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth"))
        return fits

    assert visitor.visit(page_url, look) == [True, True]


def test_colours_and_tables_are_reached_by_the_keyboard(visitor: Visitor, page_url: str) -> None:
    background = "getComputedStyle(document.body).backgroundColor"

    def look(page: Page) -> tuple[str, str, str, bool]:
        page.keyboard.press("Tab")
        skip = page.evaluate("document.activeElement.textContent")
        light = page.evaluate(background)
        page.get_by_label("Colours").focus()
        page.keyboard.type("dark")
        dark = page.evaluate(background)
        page.locator("summary").first.focus()
        page.keyboard.press("Enter")
        return skip, light, dark, page.locator("details").first.get_by_role("table").is_visible()

    skip, light, dark, visible = visitor.visit(page_url, look)
    assert skip == "Skip to the figures"
    assert (light, dark) == ("rgb(246, 247, 249)", "rgb(20, 23, 28)")
    assert visible


def test_a_request_to_elsewhere_or_an_error_on_the_console_fails_a_test(visitor: Visitor, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x.png'><script>null.x</script>", encoding="utf-8")
    with pytest.raises(AssertionError, match="request to http://127") as raised:
        visitor.visit(bad.as_uri(), lambda page: page.wait_for_load_state("networkidle"))
    assert "exception" in str(raised.value)
