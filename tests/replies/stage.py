"""Guards with a cache of replies, and models for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tenacity

from assistantguard import (
    TransientRetry,
)
from assistantguard.sandbox import Fault, ModelRequest, Sandbox
from tests.support.world import Thread, World

__all__ = ["ADD", "ASK", "MANY", "RETRY", "made", "numbered", "texts"]

RETRY = TransientRetry(3, wait=tenacity.wait_none())
ASK = "POST /responses"
ADD = "POST /conversations/{id}/items"
MANY = 6


def numbered() -> Callable[[ModelRequest], str]:
    """A model that never says the same twice."""
    answers = iter(range(1, 1000))
    return lambda request: f"Answer {next(answers)} to {request.last_user_text!r} after {len(request.items)} items"


def made(world: World, *policies: Any, model: Any = None, faults: Sequence[Fault] = (), **options: Any) -> Any:
    sandbox = world.sandbox(model or numbered(), faults=faults)
    return sandbox, world.bot(sandbox, [*policies, RETRY], **options)


def texts(sandbox: Sandbox, thread: Thread) -> list[str]:
    items = sandbox.conversation(thread.state.generation_id or "")
    return ["".join(part.get("text", "") for part in item["content"]) for item in items]
