"""A model that speaks slowly, and what must hold after someone left it in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio

from assistantguard import StreamEvent, TextDelta
from assistantguard.events import RunCancelled, RunSettled, RunStarted
from assistantguard.sandbox import Answer, ModelRequest, Sandbox
from tests.support.checks import check_all, check_holds, paths, user_texts
from tests.support.waiting import LONG
from tests.support.world import Bot

__all__ = ["check_left", "first_text", "is_text", "slow_words", "until"]

CANCEL = "POST /responses/{id}/cancel"
WORDS = " ".join(["one two three four five six seven eight nine ten"] * 3)


def slow_words(request: ModelRequest) -> Answer | str:
    if request.last_user_text.startswith("Slowly"):
        return Answer(text=WORDS, delay=0.05, pace=0.3)
    return f"Done: {request.last_user_text}"


def is_text(event: StreamEvent) -> bool:
    return isinstance(event, TextDelta)


def check_left(bot: Bot, sandbox: Sandbox, *, background: bool, nameless: int = 0) -> None:
    """One run was interrupted: it is booked, it was cancelled at the server, and the next message is answered."""
    check_holds(bot)
    assert [event.status for event in bot.all(RunSettled)] == ["cancelled"]
    assert [event.policy for event in bot.all(RunCancelled)] == ["caller"]
    assert len(bot.all(RunStarted)) == 1
    if background:
        assert paths(sandbox, CANCEL) == 1
        assert [call.status for call in sandbox.billing.calls] == ["cancelled"]
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_all(bot, sandbox, nameless=nameless)
    kept = user_texts(sandbox.conversation(bot.default.state.generation_id or ""))
    assert kept == ["Are you there?"]


async def until(ready: Callable[[], object]) -> None:
    with anyio.fail_after(LONG):
        while not ready():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.005)


async def first_text(stream: Any) -> None:
    async for event in stream:
        if is_text(event):
            return
