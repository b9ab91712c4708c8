"""Takes the pictures of the dashboard for the README: ``python -m tests.dashboard.pictures [FOLDER]``.

The figures are made up. It needs a Chromium on the machine.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from assistantguard.events import BudgetRefusedEvent, RunCancelled
from assistantguard.ledger import Claim, Entry
from assistantguard.models import RunState, ThreadState, Usage
from assistantguard.policies import Budget
from assistantguard.storage import Opened
from tests.dashboard.calling import serving
from tests.support.books import Books
from tests.support.browser import find_chromium, open_visitor

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["main"]

SIZE = (1120, 1180)
USERS = ("ann@example.com", "bob@example.com", "cem@example.com", "dana@example.com", "eve@example.com")
PRICES = {"gpt-6-luna": (Decimal("0.25"), Decimal(2)), "gpt-6-sol": (Decimal("1.25"), Decimal(10))}
"""US dollars per million tokens, in and out."""
TOPICS = ("Invoices", "Returns", "Contract questions", "Travel", "Onboarding", "Release notes")
DAY = 86_400.0


def fill(books: Books, events: Path) -> None:
    """Write a month of made-up figures."""
    dice, now = random.Random(7), time.time()
    number = 0
    for day in range(30):
        for user in USERS[: 3 + day % 3]:
            for _ in range(dice.randrange(1, 4)):
                number += 1
                model = dice.choices(list(PRICES), (4, 1))[0]
                read, cached = dice.randrange(20_000, 160_000), dice.random() * 0.6
                written = dice.randrange(500, 9_000)
                paid, told = PRICES[model]
                cost = ((read * paid) + (written * told)) / 1_000_000
                usage = Usage(read, int(read * cached), 0, written, 0, 0, 1)
                at = now - day * DAY - dice.random() * 3_600
                books.ledger.reserve(f"hold_{number}", (), now + 600)
                entry = Entry(at, f"t-{user}-0", f"run_{number}", 1, model, usage, cost, user=user)
                books.ledger.commit(f"hold_{number}", entry)
    for place, user in enumerate(USERS):
        (cap,) = Budget("user", "day", cost=1).caps(user, now)
        spent = Decimal(place * 37 % 90) / 400
        books.ledger.set_limit(Budget("user", "day", cost=1).key(user), "cost", Decimal(1 + place % 2) / 4)
        books.book(user, tokens=9_000, cost=str(spent), time=now, claims=[Claim(cap.account, "cost", spent)])
        for topic in range(place, place + 3):
            books.thread(f"t-{user}-{topic - place}", user, TOPICS[topic % len(TOPICS)], "support")
    for place, user in enumerate(USERS[:2]):
        state = ThreadState(f"live-{place}", created_at=now, last_used_at=now)
        state.user, state.name = user, "Month end"
        opened = books.threads.open(state.id, f"worker-{place}", 600.0, now, user=user, fresh=state)
        assert isinstance(opened, Opened)
        run = RunState(f"run_live_{place}", state.id, "gpt-6-luna", "in_progress", started_at=now - 20 * place)
        run.steps, run.usage, run.cost = place + 1, Usage(18_000, 0, 0, 400, 0, 0, 2), Decimal("0.0053")
        books.threads.save(state, run, opened.fence)
    amounts = (Decimal(1), Decimal("0.99"), Decimal("0.01"))
    account = Budget("user", "day", cost=1).caps(USERS[2], now)[0].account
    refused = BudgetRefusedEvent(
        now - 900,
        "s",
        "t-1",
        account,
        "cost",
        "exceeded",
        *amounts,
        "user/day",
        "the day's budget is spent",
        user=USERS[2],
    )
    stopped = RunCancelled(
        now - 60, "s", "live-1", "run_1", "gpt-6-luna", 8, 11, "ToolStepCeiling", "8 of 8 tool steps"
    )
    events.write_text("".join(json.dumps(event.record()) + "\n" for event in (refused, stopped)), encoding="utf-8")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    chromium = find_chromium()
    if chromium is None:
        sys.exit("there is no Chromium on this machine: install the distribution's package")
    folder.mkdir(parents=True, exist_ok=True)

    def look(page: Page) -> list[bytes]:
        overview = page.screenshot()
        page.get_by_role("link", name="Users").click()
        page.get_by_role("heading", name="Users").wait_for()
        return [overview, page.screenshot(clip={"x": 0, "y": 0, "width": SIZE[0], "height": 560})]

    with tempfile.TemporaryDirectory() as place:
        folder = folder.absolute()
        os.chdir(place)  # so that the pictures show a short name
        books, events = Books("sqlite:///guard.db"), Path("events.jsonl")
        fill(books, events)
        books.close()
        with serving(books.url, events=events) as link, open_visitor(chromium) as visitor:
            for shade in ("light", "dark"):
                pictures = visitor.visit(link, look, dark=shade == "dark", size=SIZE)
                for name, picture in zip(("dashboard", "dashboard-users"), pictures, strict=True):
                    file = folder / f"{name}-{shade}.png"
                    file.write_bytes(picture)
                    print(f"{file}: {len(picture) // 1000} kB")  # noqa: T201  it is a program


if __name__ == "__main__":
    main()
