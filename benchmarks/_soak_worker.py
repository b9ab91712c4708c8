"""A process with a guard and a few conversations, which the soak kills in mid-run.

It says on its standard output which conversation each is in, what is sent and what is answered, one JSON list a line.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

from assistantguard import AssistantGuardError, AsyncAssistantGuard, TransientRetry
from assistantguard.events import Event, ThreadRotated
from benchmarks._soak_guards import CLEANUP_TIMEOUT, RUN_TIMEOUT, WORKER_MODEL, assistant, async_client
from benchmarks._soak_model import Plan, message_of

__all__ = ["main"]


def _say(*row: object) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def _tell_move(event: Event) -> None:
    if isinstance(event, ThreadRotated):
        _say("lost" if event.old == "gone" else "left", int(event.thread_id), event.from_generation_id)
        _say("in", int(event.thread_id), event.to_generation_id)


async def _talk(guard: AsyncAssistantGuard, name: int, seed: int) -> None:
    dice = random.Random(f"{seed} worker {name}")
    thread = guard.thread(str(name))
    number = 0
    while True:
        number += 1
        mark = f"{name}.{number}"
        _say("sent", name, mark)
        text = message_of(mark, Plan.draw(dice))
        try:
            if dice.random() < 0.5:
                async with thread.stream(text) as stream:
                    reply = await stream.until_done()
            else:
                reply = await thread.chat(text)
        except AssistantGuardError:
            await asyncio.sleep(0.05)
        else:
            if thread.state.generation_id is not None:
                _say("in", name, thread.state.generation_id)
            if reply.complete:
                _say("answered", name, mark)
        await asyncio.sleep(dice.uniform(0.0, 0.5))


async def main(base_url: str, first: int, conversations: int, seed: int, *, background: bool) -> None:
    """Hold conversations until the process is killed."""
    async with async_client(base_url) as client:
        guard = AsyncAssistantGuard(
            client,
            assistant(WORKER_MODEL),
            [TransientRetry(4)],  # it never rotates, so that what it said last is where its conversations are
            run_timeout=RUN_TIMEOUT,
            cleanup_timeout=CLEANUP_TIMEOUT,
            background=background,
            sinks=[_tell_move],
        )
        await asyncio.gather(*(_talk(guard, name, seed) for name in range(first, first + conversations)))


if __name__ == "__main__":
    url, *numbers = sys.argv[1:]
    start, count, dice_seed, in_background = map(int, numbers)
    asyncio.run(main(url, start, count, dice_seed, background=bool(in_background)))
