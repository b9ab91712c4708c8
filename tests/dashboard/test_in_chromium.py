"""The dashboard in a real browser. Where there is none, these tests skip."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from assistantguard._text import dollars, number
from assistantguard.ledger import Claim
from assistantguard.policies import Budget
from tests.dashboard.calling import LONGEST, serving
from tests.support.books import Books
from tests.support.browser import PHONE, Visitor, assert_accessible

if TYPE_CHECKING:
    from playwright.sync_api import Page

SCRIPT = "<script>window.broken = 1</script><img src=x onerror='window.broken = 1'>"
PATIENT = 1000 * LONGEST
"""Milliseconds."""


@pytest.fixture
def stocked(books: Books) -> Books:
    """Users, budgets and threads."""
    now = time.time()
    (cap,) = Budget("user", "day", tokens=1).caps("ann", now)
    claims = [Claim(cap.account, "tokens", Decimal(1_000))]
    books.book("ann", tokens=1_000, cost="1.25", time=now, claims=claims)
    books.book("bob", tokens=2_000, cost=None, model="house-model", time=now)
    books.book(SCRIPT, tokens=3_000, cost="0.5", time=now)
    books.ledger.set_limit("user:ann@day", "tokens", 5_000)
    books.thread("t-1", "ann", "Orders", "late")
    books.thread("t-2", "ann", "Returns")
    books.thread("t-3", SCRIPT, SCRIPT, SCRIPT)
    return books


@pytest.fixture
def link(stocked: Books) -> Iterator[str]:
    with serving(stocked.url, allow_changes=True) as link:
        yield link


def page_of(link: str, path: str, **parameters: str) -> str:
    return f"{link.partition('/?')[0]}/{path}" + (f"?{urlencode(parameters)}" if parameters else "")


def test_every_page_loads_without_faults_and_is_accessible_in_light_and_dark(visitor: Visitor, link: str) -> None:
    pages = {
        "": {},
        "users": {},
        "user": {"user": SCRIPT},
        "threads": {},
        "thread": {"id": "t-3", "user": SCRIPT},
        "account": {"account": "user:ann@day"},
        "budgets": {},
        "runs": {},
        "refusals": {},
    }

    checked = {"", "user", "thread", "account"}

    def look(page: Page) -> str:
        for path, parameters in pages.items():
            page.goto(page_of(link, path, **parameters))
            if path in checked:
                assert_accessible(page)
            assert page.evaluate("window.broken") is None
        return str(page.evaluate("document.cookie"))

    assert visitor.visit(link, look) == ""
    pages = {"users": {}}
    visitor.visit(link, look, dark=True)


def test_the_token_leaves_the_address_and_the_figures_are_the_ledgers(
    visitor: Visitor, link: str, stocked: Books
) -> None:
    def look(page: Page) -> tuple[str, list[str], list[list[str]]]:
        figures = page.locator(".figures .value").all_inner_texts()
        rows = page.locator("section", has_text="By user").locator("tbody tr").all()
        users = [[cell.strip() for cell in row.locator("th, td").all_text_contents()] for row in rows]
        return page.url, figures, users

    url, figures, users = visitor.visit(link, look)
    (total,) = stocked.ledger.usage()
    assert url == page_of(link, "")
    assert figures[:3] == [dollars(total.cost), number(total.usage.total_tokens), "3"]
    assert [row[:3] for row in users] == [
        ["ann", "$1.25", "1,000"],
        [SCRIPT, "$0.50", "3,000"],
        ["bob", "unknown (1)", "2,000"],
    ]


def test_without_the_token_there_is_nothing_to_see(visitor: Visitor, link: str) -> None:
    seen = visitor.visit(
        page_of(link, "users"), lambda page: page.inner_text("body"), expected_errors=("401 (Unauthorized)",)
    )
    assert "Open the link" in seen
    assert "ann" not in seen


def test_threads_are_found_renamed_and_put_away_by_keyboard(visitor: Visitor, link: str, stocked: Books) -> None:
    def look(page: Page) -> None:
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.url.endswith("#main")
        page.goto(page_of(link, "threads"))
        page.get_by_label("Search names and tags").press_sequentially("LATE")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("search=LATE"))
        assert page.locator("tbody tr").count() == 1
        page.get_by_role("link", name="Orders").press("Enter")
        page.wait_for_url(re.compile(r"/thread\?"))
        page.get_by_label("Name").fill("Old orders")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Thread Old orders").wait_for(timeout=PATIENT)
        assert page.get_by_text("The thread is renamed.").is_visible()
        page.get_by_role("button", name="Archive").press("Enter")
        page.get_by_text("The thread is archived").wait_for(timeout=PATIENT)

    visitor.visit(link, look)
    info = stocked.threads.info("t-1", "ann")
    assert info.name == "Old orders"
    assert info.archived_at is not None


def test_a_budget_is_changed_and_a_mistake_is_told(visitor: Visitor, link: str, stocked: Books) -> None:
    def look(page: Page) -> list[str]:
        page.get_by_role("link", name="Users").click()
        page.get_by_label("Search names").fill("ann")
        page.get_by_role("button", name="Show").click()
        page.wait_for_url(re.compile("search=ann"))
        page.get_by_role("link", name="ann").click()
        page.get_by_role("link", name="limits of user:ann@day").click()
        page.get_by_label("Limit", exact=True).fill("12,5")
        page.get_by_role("button", name="Set").click()
        page.get_by_role("alert").wait_for(timeout=PATIENT)
        assert page.get_by_label("Limit", exact=True).input_value() == "12,5"
        page.get_by_label("Limit", exact=True).fill("12,500")
        page.get_by_role("button", name="Set").click()
        page.get_by_text("The limit is set.").wait_for(timeout=PATIENT)
        return page.locator("tbody tr").all_inner_texts()

    (row,) = visitor.visit(link, look, expected_errors=("400 (Bad Request)",))
    assert "12,500 tokens (set)\t11,500 tokens" in row
    assert stocked.ledger.limits(["user:ann@day"]) == {("user:ann@day", "tokens"): Decimal(12_500)}


def test_figures_come_by_themselves_until_they_are_paused(visitor: Visitor, stocked: Books) -> None:
    loaded = threading.Event()

    def book() -> None:
        assert loaded.wait(LONGEST)
        stocked.book("dan", cost="7.77", time=time.time())

    def look(page: Page) -> str:
        page.evaluate("document.body.dataset.mark = 'the same document'")
        summary = page.get_by_text("The figures as a table").first
        summary.click()
        page.get_by_label("Days").focus()
        loaded.set()
        page.get_by_role("link", name="dan").wait_for(timeout=PATIENT)
        assert page.locator("details").first.get_attribute("open") is not None
        page.get_by_role("button", name="Pause updates").click()
        assert page.get_by_role("button", name="Go on updating").is_visible()
        return str(page.evaluate("document.body.dataset.mark"))

    booking = threading.Thread(target=book)
    booking.start()
    try:
        with serving(stocked.url, refresh_seconds=0.1) as link:
            assert visitor.visit(link, look) == "the same document"
    finally:
        loaded.set()
        booking.join(LONGEST)


def test_it_works_without_scripts_and_on_a_telephone(visitor: Visitor, link: str) -> None:
    def look(page: Page) -> bool:
        page.goto(page_of(link, "threads"))
        page.get_by_label("Search names and tags").fill("Ret")
        page.get_by_role("button", name="Search").click()
        page.wait_for_url(re.compile("search=Ret"))
        assert page.get_by_role("link", name="Returns").is_visible()
        return page.get_by_role("button", name="Pause updates").is_visible()

    assert not visitor.visit(link, look, scripts=False, size=PHONE)

    def width(page: Page) -> list[int]:
        widths = []
        for path in ("", "users", "threads", "budgets"):
            page.goto(page_of(link, path))
            widths.append(int(page.evaluate("document.documentElement.scrollWidth")))
        return widths

    assert max(visitor.visit(link, width, size=PHONE)) <= PHONE[0]
