"""The public types of pacing, routing, cached replies and batches. Never run: see ``api.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import openai
from typing_extensions import assert_type

from assistantguard import (
    Assistant,
    AssistantGuard,
    AsyncAssistantGuard,
    BatchProgress,
    BatchResult,
    BatchUnfinished,
    ConfigurationError,
    Downgrade,
    Fallback,
    ForTenants,
    ForUsers,
    Job,
    JobError,
    JobProblem,
    JobResult,
    MalformedJobs,
    MatchingMessages,
    ModelRouting,
    Otherwise,
    Pacing,
    Policy,
    Refused,
    ReplyCache,
    Route,
    ShortMessages,
    TooManyRequests,
    Usage,
    WithoutTools,
)
from assistantguard.batches.events import BatchSettled
from assistantguard.events import Event
from assistantguard.events.replies import ReplyCached
from assistantguard.events.traffic import PacingRefused, PacingWaited, RunRouted
from assistantguard.models.cached import CachedQuestion
from assistantguard.policies import View
from assistantguard.sandbox import BatchProcessing, RateLimits, Sandbox


def newest(question: str, known: Sequence[CachedQuestion]) -> CachedQuestion | None:
    return known[0] if question else None


def paid(view: View) -> Route | None:
    return Route("gpt-5", reasoning_effort="high", keep=False) if view.thread.tenant == "acme" else None


def house(view: View) -> str | None:
    return view.thread.tenant


policies: list[Policy] = [
    Pacing(500, 200_000, per="key", max_wait=30, max_queue=None, burst=1.0, priority=5),
    Pacing(tier=2, per=lambda view: view.model, priority=lambda view: 1, name="second"),
    ModelRouting(
        [
            ForUsers({"maren": "gpt-5"}),
            ForTenants({"acme": Route("gpt-5", force=True)}),
            MatchingMessages(r"\bwhy\b", "gpt-5"),
            WithoutTools("gpt-5-nano"),
            ShortMessages("gpt-5-nano", max_tokens=50),
            Downgrade("gpt-5-nano", when_left=0.1, budget="user/day"),
            Fallback("gpt-5-mini", after=3),
            Otherwise("gpt-5-mini"),
            paid,
        ],
        stay=True,
        pays_within=5,
    ),
    ReplyCache(timedelta(hours=2), store="redis://localhost:6379/0", scope="tenant", similar=newest),
    ReplyCache(60.0, scope=house, normalise=str.lower, single_flight=False),
]
Pacing("many")  # type: ignore[arg-type]
Pacing(per="user")  # type: ignore[arg-type]
Pacing(priority="high")  # type: ignore[arg-type]
ModelRouting(ShortMessages("gpt-5-nano", max_tokens=50))  # type: ignore[arg-type]
ModelRouting([lambda view: "gpt-5"])  # type: ignore[list-item, return-value]
ShortMessages("gpt-5-nano")  # type: ignore[call-arg]
ReplyCache("an hour")  # type: ignore[arg-type]
ReplyCache(scope=lambda: "all")  # type: ignore[arg-type, misc]


def told(progress: BatchProgress) -> None:
    assert_type((progress.total, progress.done, progress.failed), tuple[int, int, int])


def batches(bot: AssistantGuard) -> None:
    result = bot.batch(["Hi", Job("Hello", user="maren", metadata={"a": "b"})], through="8h", on_progress=told)
    assert_type(result, BatchResult)
    assert_type(result.results, Sequence[JobResult])
    assert_type(result.retryable, Sequence[Job])
    assert_type(result.counts, Mapping[str, int])
    assert_type((result.usage, result.cost, result.saved), tuple[Usage, Decimal | None, Decimal | None])
    for each in result.failed:
        assert_type((each.text, each.error), tuple[str | None, JobError | None])
        assert_type((each.model, each.cached, each.completed), tuple[str, bool, bool])
    bot.batch(Path("jobs.jsonl"), state="jobs.state", timeout=60, poll=5, idempotency_key="tonight", retry=True)
    bot.batch([Job(body={"model": "gpt-5", "input": "Hi"})])
    bot.batch(["Hi"], through="4h")  # type: ignore[arg-type]
    bot.batch([7])  # type: ignore[list-item]
    Job(7)  # type: ignore[arg-type]


async def batches_async(bot: AsyncAssistantGuard) -> None:
    assert_type(await bot.batch(["Hi"], cancel=True), BatchResult)


def refused(bot: AssistantGuard) -> None:
    try:
        bot.batch(["Hi"])
    except MalformedJobs as error:
        assert_type(error.problems, tuple[JobProblem, ...])
        assert_type(error.problems[0].line, int)
    except BatchUnfinished as error:
        assert_type(error.batch_id, str)
    try:
        bot.chat("Hi")
    except TooManyRequests as error:
        assert_type((error.lane, error.available_at), tuple[str, float | None])
    assert issubclass(TooManyRequests, Refused)
    assert issubclass(MalformedJobs, ConfigurationError)


def listen(event: Event) -> None:
    if isinstance(event, RunRouted):
        assert_type((event.from_model, event.switch_cost), tuple[str, Decimal | None])
    elif isinstance(event, PacingWaited):
        assert_type(event.seconds, float)
    elif isinstance(event, PacingRefused):
        assert_type(event.available_at, float | None)
    elif isinstance(event, ReplyCached):
        assert_type((event.saved, event.saved_cost), tuple[Usage, Decimal | None])
    elif isinstance(event, BatchSettled):
        assert_type((event.completed, event.refused, event.cost), tuple[int, int, Decimal | None])


def played() -> None:
    limits = RateLimits(requests_per_minute=60, tokens_per_minute=40_000)
    with Sandbox(limits=limits, batches=BatchProcessing(seconds=5), window_seconds={"2h": 1}) as sandbox:
        client = sandbox.client()
        assert_type(client, openai.OpenAI)
        AssistantGuard(client, Assistant("gpt-5"), policies)
