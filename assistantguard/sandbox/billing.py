"""The sandbox's bill: what a server would have charged, call by call. Tests compare with it.

Prices come from `genai_prices` directly, so that they check the guard's own price book. Prompt caching follows the
API: the longest prefix of (tools, instructions, items) that an earlier call of the same model sent, from 1,024 tokens
in steps of 128. Models from gpt-5.6 on are billed for what they write to the cache. With ``mode="explicit"`` nothing is
read or written, breakpoints or not; writes for ``ttl="12h"`` are priced like those for 30 minutes.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["BilledCall", "Billing", "PromptCache", "Totals", "knows_cache_options", "writes_are_billed"]

CACHE_MINIMUM = 1024
CACHE_STEP = 128
_WINDOW_DISCOUNTS = {"2h": Decimal("0.3"), "8h": Decimal("0.4")}


@lru_cache(maxsize=512)
def _version(model: str) -> tuple[int, int] | None:
    found = re.match(r"(?:ft:)?gpt-(\d+)(?:\.(\d+))?(?!\d|[a-z])", model)
    return None if found is None else (int(found[1]), int(found[2] or 0))


def writes_are_billed(model: str) -> bool:
    """Whether the model is gpt-5.6 or later, which bills cache writes."""
    version = _version(model)
    return version is not None and version >= (5, 6)


def knows_cache_options(model: str) -> bool:
    """Whether `prompt_cache_options` may be given: with gpt-5.6 or later, and with models we know nothing of."""
    version = _version(model)
    if version is None:
        return re.match(r"(?:ft:)?(?:gpt-|chatgpt-|o\d)", model) is None
    return version >= (5, 6)


class PromptCache:
    """Which prefixes a server has seen, per model.

    It works by whole segments: a prefix ends where a segment ends. It holds at least the `capacity` prefixes seen last,
    and at most twice as many.

    Args:
        capacity: Prefixes.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._recent: dict[int, None] = {}
        self._older: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._recent) + len(self._older)

    def read(self, model: str, segments: Iterable[tuple[str, int]]) -> int:
        """Return the tokens of the longest prefix seen before, and remember this prompt.

        Args:
            model: Caches are kept apart by model.
            segments: ``(key, tokens)`` of each part of the prompt, in order.
        """
        prefix = hash(model)
        common = 0
        known = True
        for key, tokens in segments:
            prefix = hash((prefix, key))
            known = known and (prefix in self._recent or prefix in self._older)
            if known:
                common += tokens
            self._recent[prefix] = None
        if len(self._recent) >= self._capacity:
            self._older, self._recent = self._recent, {}
        return common

    @staticmethod
    def rounded(tokens: int) -> int:
        """Return the part of a prefix that can be cached: nothing below 1,024, then steps of 128."""
        return 0 if tokens < CACHE_MINIMUM else tokens // CACHE_STEP * CACHE_STEP


@dataclass(slots=True, kw_only=True)
class BilledCall:
    """One row of the bill: one response, finished or not."""

    response_id: str
    conversation_id: str | None
    model: str
    status: str
    input_tokens: int
    cached_tokens: int
    """Read from the prompt cache. Part of `input_tokens`."""
    cache_write_tokens: int
    """Written to it at a price. Part of `input_tokens`."""
    output_tokens: int
    reasoning_tokens: int
    """Part of `output_tokens`."""
    file_searches: int
    service_tier: str
    """``batch`` is the Batch API's price."""
    billed: bool
    """False: the call cost nothing, and its token counts are 0."""
    usage_reported: bool
    """Whether the client was told."""
    batch_id: str | None = None
    """The batch whose line it was."""
    completion_window: str | None = None
    """The window of a background response that was to be done within it: ``2h`` or ``8h``, at a lower price."""

    @property
    def cost(self) -> Decimal | None:
        """US dollars, with the fees of file searches; None where a price is not known."""
        if not self.billed:
            return Decimal(0)
        usage = (
            ("input_tokens", self.input_tokens),
            ("cache_read_tokens", self.cached_tokens),
            ("cache_write_tokens", self.cache_write_tokens),
            ("output_tokens", self.output_tokens),
            ("storage_searches", self.file_searches),
        )
        tier, counted = self.service_tier, tuple(pair for pair in usage if pair[1])
        cost = _cost(self.model, tier, counted)
        if cost is None or self.completion_window is None:
            return cost
        tokens = _cost(self.model, tier, tuple(pair for pair in counted if pair[0] != "storage_searches"))
        return None if tokens is None else cost - tokens * _WINDOW_DISCOUNTS[self.completion_window]


@lru_cache(maxsize=65_536)
def _cost(model: str, tier: str, usage: tuple[tuple[str, int], ...]) -> Decimal | None:
    import genai_prices

    options: dict[str, Any] = {"provider_id": "openai"}
    context = {"processing" if tier == "batch" else "service_tier": tier}
    if tier != "default":
        options["price_context"] = context
    try:
        price = genai_prices.calc_price(genai_prices.Usage(**dict(usage)), model, **options)
    except LookupError:
        return None
    known = tier == "default" or any(variant.when == context for variant in price.model.price_variants or ())
    counted = dict(usage)
    if "storage_searches" in counted and price.model_price.storage_searches_kcount is None:
        known = False
    return price.total_price if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over calls."""

    requests: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: Decimal | None
    """US dollars; None where the price of one of the calls is not known."""

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Totals) -> Totals:
        known = self.cost is not None and other.cost is not None
        return Totals(
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cost=(self.cost or Decimal(0)) + (other.cost or Decimal(0)) if known else None,
        )

    @classmethod
    def of(cls, calls: Sequence[BilledCall]) -> Totals:
        """Add up calls."""
        costs = [call.cost for call in calls]
        known = [cost for cost in costs if cost is not None]
        return cls(
            requests=len(calls),
            input_tokens=sum(call.input_tokens for call in calls),
            cached_tokens=sum(call.cached_tokens for call in calls),
            cache_write_tokens=sum(call.cache_write_tokens for call in calls),
            output_tokens=sum(call.output_tokens for call in calls),
            reasoning_tokens=sum(call.reasoning_tokens for call in calls),
            cost=sum(known, Decimal(0)) if len(known) == len(costs) else None,
        )


class Billing:
    """The bill of a sandbox.

    Args:
        keep_calls: How many rows are kept; older ones that nothing changes any more only count in the sums. None keeps
            all.
    """

    def __init__(self, *, keep_calls: int | None = None) -> None:
        self.calls: list[BilledCall] = []
        """One row for each response that the model began, in that order. What is still being made has the status
        ``in_progress`` and its input only; its output is added when it ends, however it ends."""
        self.vector_stores_created = 0
        self.files_embedded: Counter[str] = Counter()
        """How often each file id was embedded, over all vector stores."""
        self._keep = keep_calls
        self._open: set[str] = set()
        self._folded: dict[str, Totals] = {}
        self._lock = threading.Lock()

    def begin(self, call: BilledCall) -> None:
        """Add a row that may still change."""
        with self._lock:
            self.calls.append(call)
            self._open.add(call.response_id)

    def end(self, call: BilledCall) -> None:
        """Say that a row changes no more."""
        self._open.discard(call.response_id)
        if self._keep is not None and len(self.calls) > 2 * self._keep:
            self._fold(len(self.calls) - self._keep)

    def _fold(self, oldest: int) -> None:
        with self._lock:
            kept: list[BilledCall] = []
            folded: dict[str, list[BilledCall]] = {}
            for call in self.calls[:oldest]:
                if call.response_id in self._open:
                    kept.append(call)
                else:
                    folded.setdefault(call.model, []).append(call)
            self.calls[:oldest] = kept
            for model, calls in folded.items():
                sums = Totals.of(calls)
                self._folded[model] = sums + self._folded[model] if model in self._folded else sums

    def _sums(self) -> tuple[dict[str, Totals], list[BilledCall]]:
        with self._lock:
            return dict(self._folded), list(self.calls)

    @property
    def totals(self) -> Totals:
        """Sums over all calls."""
        folded, calls = self._sums()
        return sum(folded.values(), Totals.of(calls))

    @property
    def by_model(self) -> dict[str, Totals]:
        """Sums for each model."""
        sums, calls = self._sums()
        for model in dict.fromkeys(call.model for call in calls):
            own = Totals.of([call for call in calls if call.model == model])
            sums[model] = sums[model] + own if model in sums else own
        return sums

    @property
    def by_conversation(self) -> dict[str | None, Totals]:
        """Sums for each conversation id, over the rows that are kept; under None what was asked outside of one."""
        grouped: dict[str | None, list[BilledCall]] = {}
        for call in self._sums()[1]:
            grouped.setdefault(call.conversation_id, []).append(call)
        return {conversation: Totals.of(calls) for conversation, calls in grouped.items()}

    @property
    def requests(self) -> int:
        """Responses that the model began."""
        return self.totals.requests

    @property
    def input_tokens(self) -> int:
        """Input over all calls, cached tokens included."""
        return self.totals.input_tokens

    @property
    def cached_tokens(self) -> int:
        """Input read from the prompt cache."""
        return self.totals.cached_tokens

    @property
    def cache_write_tokens(self) -> int:
        """Input written to the prompt cache at a price."""
        return self.totals.cache_write_tokens

    @property
    def output_tokens(self) -> int:
        """Output over all calls, reasoning included."""
        return self.totals.output_tokens

    @property
    def reasoning_tokens(self) -> int:
        """Output spent on reasoning."""
        return self.totals.reasoning_tokens

    @property
    def cost(self) -> Decimal | None:
        """US dollars over all calls; None where one of them has no known price."""
        return self.totals.cost
