"""Many at once: requests at the speed of the limit, easy questions on a cheaper model, repeated ones for nothing.

Run it: ``python examples/traffic.py`` (with OPENAI_API_KEY it talks to OpenAI, without it to the sandbox, which
enforces a rate limit as OpenAI does). First twelve users ask at the same time; then what can wait is done as a batch,
at half price.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI

from assistantguard import (
    Assistant,
    AssistantGuard,
    Job,
    ModelRouting,
    Pacing,
    ReplyCache,
    ShortMessages,
    TransientRetry,
)
from assistantguard.sandbox import RateLimits, Sandbox

LARGE, SMALL = "gpt-6-sol", "gpt-6-luna"
REQUESTS_PER_MINUTE = 600
QUESTIONS = (
    "Where is my parcel?",
    "I ordered a lamp in green and got one in blue: can I keep it, at what price, or how do I send it back for free?",
)


def main(client: OpenAI, poll: float | None = None) -> None:
    policies = [
        Pacing(REQUESTS_PER_MINUTE, max_wait=30),
        ModelRouting([ShortMessages(SMALL, max_tokens=12)]),
        ReplyCache(scope="everyone"),
        TransientRetry(3),
    ]
    assistant = Assistant(LARGE, "You answer the customers of a shop.", max_output_tokens=200)
    with AssistantGuard(client, assistant, policies, sinks=[]) as bot:
        with ThreadPoolExecutor(12) as pool:
            asked = [(f"user-{number}", QUESTIONS[number % 2]) for number in range(12)]
            replies = list(pool.map(lambda each: bot.thread(user=each[0]).chat(each[1]), asked))
        paid = Counter(reply.run.model for reply in replies if not reply.cached)
        print(f"{len(replies)} users at once: {sum(reply.cached for reply in replies)} answers were known by then")
        print("paid for:", ", ".join(f"{count} on {model}" for model, count in sorted(paid.items())))

        jobs = [Job(f"Write a line about order {number}.", user="shop") for number in range(4)]
        result = bot.batch([*jobs, Job(QUESTIONS[0], user="shop")], poll=poll)
        known = sum(each.cached for each in result.results)
        print(f"batch: {result.counts['completed']} completed, {known} out of the cache")
        assert result.cost is not None
        assert result.saved is not None
        print(f"it cost {result.cost / (result.cost + result.saved):.0%} of the standard price")


if __name__ == "__main__":
    if os.environ.get("OPENAI_API_KEY"):
        main(OpenAI())
    else:
        limits = RateLimits(requests_per_minute=REQUESTS_PER_MINUTE)
        with Sandbox(limits=limits) as sandbox, sandbox.client() as client:
            main(client, poll=0.1)
