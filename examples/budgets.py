"""Budgets: so many messages a day for each user, so many dollars a month for all, and a word before they are spent.

Run it: ``python examples/budgets.py`` (with OPENAI_API_KEY it talks to OpenAI, without it to the sandbox). The books
are in a database, so the budgets hold for every process that opens it: give its URL in ASSISTANTGUARD_LEDGER, or the
example makes one for itself. Set WEBHOOK_URL to have the warning sent there.
"""

from __future__ import annotations

import json
import os
import tempfile
import urllib.request
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from openai import OpenAI

from assistantguard import Assistant, AssistantGuard, Budget, BudgetExceeded, default_policies
from assistantguard.events import BudgetWarned
from assistantguard.sandbox import Sandbox

ZONE = "Europe/Berlin"


def webhook(event: BudgetWarned) -> None:
    """It may be slow and it may fail: it is called in a thread of its own, and no answer waits for it."""
    urllib.request.urlopen(os.environ["WEBHOOK_URL"], json.dumps(event.record()).encode(), timeout=10).close()


def say(event: BudgetWarned) -> None:
    print(f"Soon spent: {event.user} has used {event.committed} of {event.limit} {event.metric}")


def ask(bot: AssistantGuard, user: str, question: str) -> None:
    try:
        print(f"{user}: {bot.thread(user=user).chat(question).text}")
    except BudgetExceeded as refused:
        renews = datetime.fromtimestamp(refused.renews_at or 0.0, ZoneInfo(ZONE))
        print(f"{user}: used up, {refused.left} {refused.metric} left until {renews:%H:%M}")


def main(client: OpenAI, ledger: str) -> None:
    budgets = [
        Budget(
            "user",
            per="day",
            messages=3,
            warn_at=(0.6,),
            on_warning=webhook if "WEBHOOK_URL" in os.environ else say,
            timezone=ZONE,
        ),
        Budget("application", per="month", cost="50.00", timezone=ZONE),
    ]
    assistant = Assistant(model="gpt-6-luna", instructions="You answer questions about orders.")
    with AssistantGuard(client, assistant, policies=[*budgets, *default_policies()], ledger=ledger) as bot:
        for number in range(1, 5):
            ask(bot, "maren", f"Where is order {number}?")
        ask(bot, "ilse", "Where is mine?")
        bot.set_budget("maren", messages=5, this_window=True)
        left = bot.budget("maren")
        print(f"maren has {left.left} of {left.limit} {left.metric} left today")
        ask(bot, "maren", "And where is order 5?")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        books = os.environ.get("ASSISTANTGUARD_LEDGER", f"sqlite:///{Path(folder) / 'guard.db'}")
        if os.environ.get("OPENAI_API_KEY"):
            main(OpenAI(), books)
        else:
            with Sandbox(lambda request: f"You asked: {request.last_user_text}") as sandbox:
                main(sandbox.client(), books)
