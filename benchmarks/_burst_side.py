"""One side of the burst: users ask at once, and it is noted when each is answered."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Literal

import openai

from assistantguard import Assistant, AsyncAssistantGuard, Pacing, Policy, TransientRetry

__all__ = ["MODEL", "OUTPUT", "Question", "Side", "Told", "ask_all", "questions_of"]

MODEL = "gpt-6-luna"
INSTRUCTIONS = "You answer questions about orders."
OUTPUT = 350
"""Tokens that an answer may have."""
RUN_TIMEOUT = 240.0
Side = Literal["sdk", "back-off", "pacing", "pacing in 4 processes"]


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one message."""

    user: str
    is_light: bool
    wait: float
    """Seconds from asking to the answer, or to the error."""
    answered: bool
    ended_at: float
    """By `time.time`."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """A message that is to be asked."""

    user: str
    is_light: bool
    after: float
    """Seconds from the beginning."""
    text: str


def ask_all(name: Side, base_url: str, key: str, ledger: str | None, questions: list[Question]) -> list[Told]:
    """Ask all questions, each when its time has come."""
    return asyncio.run(_ask_all(name, base_url, key, ledger, questions))


async def _ask_all(name: Side, base_url: str, key: str, ledger: str | None, questions: list[Question]) -> list[Told]:
    async with openai.AsyncOpenAI(base_url=base_url, api_key=key, timeout=RUN_TIMEOUT) as client:
        if name == "sdk":
            ask = _raw(client)
        else:
            policies: list[Policy] = [TransientRetry(20)]
            if name != "back-off":
                policies.append(Pacing())
            assistant = Assistant(MODEL, INSTRUCTIONS, max_output_tokens=OUTPUT)
            bot = AsyncAssistantGuard(
                client, assistant, policies, ledger=ledger, run_timeout=RUN_TIMEOUT, sinks=[], max_threads_per_user=None
            )
            ask = _guarded(bot)
        began = time.time()
        told = await asyncio.gather(*(_one(ask, question, began) for question in questions))
    return list(told)


def _raw(client: openai.AsyncOpenAI) -> Any:
    async def ask(question: Question) -> None:
        conversation = await client.conversations.create()
        await client.responses.create(
            model=MODEL,
            instructions=INSTRUCTIONS,
            conversation=conversation.id,
            input=question.text,
            max_output_tokens=OUTPUT,
        )

    return ask


def _guarded(bot: AsyncAssistantGuard) -> Any:
    async def ask(question: Question) -> None:
        await bot.thread(user=question.user, topic=question.text[:20]).chat(question.text)

    return ask


async def _one(ask: Any, question: Question, began: float) -> Told:
    await asyncio.sleep(max(0.0, began + question.after - time.time()))
    asked = time.time()
    try:
        await ask(question)
    except openai.OpenAIError as error:
        now = time.time()
        return Told(question.user, question.is_light, now - asked, False, now, type(error).__name__)
    now = time.time()
    return Told(question.user, question.is_light, now - asked, True, now)


def questions_of(users: int) -> list[Question]:
    """The questions: nine tenths of heavy users, who ask nine each at once, and one of light users, who ask later."""
    heavy = max(1, users // 10)
    words = " ".join(["parcel"] * 1_940)
    asked = [
        Question(f"heavy {number}", False, 0.0, f"[{number}.{one}] {words}")
        for number in range(heavy)
        for one in range(9)
    ]
    light = max(1, users - len(asked))
    return asked + [
        Question(f"light {number}", True, 1.0 + 45.0 * number / light, f"[light {number}] {words}")
        for number in range(light)
    ]
