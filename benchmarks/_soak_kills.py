"""The soak's kills: processes that end by SIGKILL in mid-run, and whose conversations others take up."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Callable
from typing import Any

from benchmarks._soak_crowd import AsyncTalker, Group, Scene
from benchmarks._soak_judge import Suspicion

__all__ = ["Worker", "kill_one"]

FIRST_NAME = 100_000
"""Conversations of workers are numbered from here on."""
_CONVERSATIONS = 6
_LIFE = (0.5, 6.0)
"""Seconds between its first answer and its end."""


class Worker:
    """A process with conversations.

    Args:
        base_url: Of the sandbox.
        first: The number of its first conversation.
        seed: Of what it does.
        background: Whether its answers are made in the background.
    """

    def __init__(self, base_url: str, first: int, seed: int, *, background: bool) -> None:
        self._arguments = [base_url, *map(str, (first, _CONVERSATIONS, seed, int(background)))]
        self.conversations: dict[int, str] = {}
        self.standing: dict[int, dict[str, bool]] = {}
        """What was sent to its conversation, and whether it was answered."""
        self.suspicions: list[Suspicion] = []
        """Turns of conversations that it left as gone."""

    async def live(self, seconds: float) -> None:
        """Run so long from the first answer on, then be killed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks._soak_worker",
            *self._arguments,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        ended: asyncio.TimerHandle | None = None
        try:
            async for line in process.stdout:
                if line.endswith(b"\n"):
                    self.note(*json.loads(line))
                if ended is None and self.conversations:
                    ended = asyncio.get_running_loop().call_later(seconds, process.kill)
        finally:
            if ended is not None:
                ended.cancel()
            if process.returncode is None:
                process.kill()
            await process.wait()

    def note(self, verb: str, name: int, what: str) -> None:
        """Take a line that the process said."""
        standing = self.standing.setdefault(name, {})
        if verb == "in":
            self.conversations[name] = what
        elif verb in {"lost", "left"}:
            if verb == "lost":
                self.suspicions.append(Suspicion(sum(standing.values()), (what,), f"a worker left {what} as gone"))
            self.standing[name] = dict(list(standing.items())[-1:])
        else:
            standing[what] = verb == "answered"


async def kill_one(
    scene: Scene, base_url: str, number: int, seed: int, make_guard: Callable[[], Any], until: float
) -> list[AsyncTalker]:
    """Let a worker live and die, and go on with its conversations until a moment; return those."""
    dice = random.Random(f"{seed} kill {number}")
    first = FIRST_NAME + number * _CONVERSATIONS
    worker = Worker(base_url, first, seed, background=dice.random() < 0.5)
    await worker.live(dice.uniform(*_LIFE))
    scene.tally.add("kills")
    group = Group(f"killed {number}", make_guard)
    talkers = []
    for name, conversation_id in worker.conversations.items():
        talker = AsyncTalker(group, name, scene, seed)
        talker.take_up(conversation_id)
        talker.record.taken_up(conversation_id, worker.standing.get(name, {}).items())
        talkers.append(talker)
    if talkers:
        talkers[0].record.suspect(worker.suspicions)
    await asyncio.gather(*(talker.heal() for talker in talkers))
    await asyncio.gather(*(talker.talk_until(until) for talker in talkers))
    return talkers
