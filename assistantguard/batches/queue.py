"""How many input tokens the Batch API may have queued for a model, where a `Pacing` policy is to keep to that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from assistantguard.policies import Pacing

if TYPE_CHECKING:
    from assistantguard.policies import PolicySet

__all__ = ["FULL", "Queue"]

FULL = "token_limit_exceeded"
"""The error code of a batch that the queue had no room for."""
_TOLD = re.compile(r"Limit: ([\d,]+) enqueued tokens")
_MOST_PASSED = 32


class Queue:
    """What may be handed over now.

    The limits are those that a tier of the policy names, and what the server tells when a batch does not fit. Such a
    batch is tried again later, in smaller files: others may fill the same queue.
    """

    def __init__(self, policies: PolicySet) -> None:
        self._pacings = [policy for policy in policies.policies if isinstance(policy, Pacing)]
        self._told: dict[str, int] = {}
        self._most: dict[str, int] = {}
        """Tokens of a file, after a larger one was refused."""
        self._refusals: dict[str, int] = {}
        self._passed: dict[str, int] = {}
        """For how many looks nothing is handed over for a model."""

    @property
    def is_kept_to(self) -> bool:
        """Whether batches wait for room, and are not refused."""
        return bool(self._pacings)

    def limit(self, model: str) -> int | None:
        """How many tokens may be queued; None where that is not known."""
        known = [policy.most_queued(model) for policy in self._pacings]
        if model in self._told:
            known.append(self._told[model])
        return min((limit for limit in known if limit is not None), default=None)

    def file_limit(self, model: str) -> int | None:
        """How many tokens a file may have; None sets no limit."""
        known = (self.limit(model), self._most.get(model))
        return min((limit for limit in known if limit is not None), default=None)

    def is_closed(self, model: str) -> bool:
        """Whether nothing is handed over for a model at this look."""
        return self._passed.get(model, 0) > 0

    @property
    def waits(self) -> bool:
        """Whether jobs wait for a queue that others fill."""
        return any(self._passed.values())

    def refused(self, model: str, tokens: int, message: str) -> None:
        """The server had no room for a file of so many tokens."""
        told = _TOLD.search(message)
        if told is not None:
            self._told[model] = int(told[1].replace(",", ""))
        self._most[model] = max(1, tokens // 2)
        self._refusals[model] = self._refusals.get(model, 0) + 1
        self._passed[model] = min(2 ** self._refusals[model], _MOST_PASSED)

    def taken(self, model: str) -> None:
        """The server had room."""
        self._refusals.pop(model, None)
        self._passed.pop(model, None)

    def looked(self) -> None:
        """Another look at the server is over."""
        for model, left in self._passed.items():
            self._passed[model] = max(0, left - 1)
