"""What a thread costs, as it is billed: the whole thread is read again by every request.

A request reads the instructions and tools (`ThreadTerms.fixed_tokens`), all that was said in the generation so far, and
what is new. So a run of three model calls reads the history three times. Of what it reads, the longest prefix that an
earlier request of the same generation has read comes from the prompt cache: nothing below 1,024 tokens, then whole
steps of 128. Models that bill what is written to the cache are billed for the rest of the prompt, in the same steps.
A rotation begins a generation with what is carried over, which no request has read before.

The cost is exact where the runs are: the same arithmetic as the price book's, in `Decimal`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from assistantguard.errors import ConfigurationError
from assistantguard.forecast.checks import number_within, whole_within
from assistantguard.models.carry_over import CarryOver
from assistantguard.models.usage import Usage
from assistantguard.models.values import Value
from assistantguard.policies.rotation import ThreadRotation
from assistantguard.prices import Price, PriceBook

__all__ = [
    "CACHE_MINIMUM",
    "CACHE_STEP",
    "CallShape",
    "PromptCaching",
    "RunCost",
    "RunShape",
    "ThreadCost",
    "ThreadMeter",
    "ThreadTerms",
    "thread_cost",
]

CACHE_MINIMUM = 1_024
"""The shortest prefix that the prompt cache keeps, in tokens."""
CACHE_STEP = 128
"""Longer prefixes are kept in steps of so many tokens."""
_MOST_TOKENS = 10**9
_SUMMARY_PROMPT = 150
"""Tokens of the instructions for a summary, about."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CallShape(Value):
    """One model call of a run.

    Raises:
        ConfigurationError: A number is negative, or reasoning is more than output.
    """

    added_tokens: int
    """What the request adds to the context: the user's message, or the outputs of tools."""
    output_tokens: int
    """What the model writes, reasoning included."""
    reasoning_tokens: int = 0
    """The part of `output_tokens` that is reasoning, which later requests do not read."""

    def __post_init__(self) -> None:
        whole_within("added_tokens", self.added_tokens, 0, _MOST_TOKENS)
        whole_within("output_tokens", self.output_tokens, 0, _MOST_TOKENS)
        whole_within("reasoning_tokens", self.reasoning_tokens, 0, self.output_tokens)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RunShape(Value):
    """The model's work on one message: its calls, in order."""

    calls: tuple[CallShape, ...]
    file_searches: int = 0
    """Calls of the built-in file search, which has a fee each."""
    time: float | None = None
    """When it began (Unix time, seconds), for limits in time; None where that does not matter."""

    @classmethod
    def of(
        cls,
        input_tokens: int,
        output_tokens: int,
        model_calls: int = 1,
        *,
        tool_tokens: int = 0,
        step_output_tokens: int = 0,
        reasoning_tokens: int = 0,
        file_searches: int = 0,
        time: float | None = None,
    ) -> RunShape:
        """Describe a run by its sums.

        Args:
            input_tokens: The user's message.
            output_tokens: The last answer, reasoning included.
            model_calls: How often the model is called: one more than there are steps of tool calls.
            tool_tokens: What the tools of one step return.
            step_output_tokens: What the model writes to ask for the tools of one step.
            reasoning_tokens: The part of `output_tokens` that is reasoning.
            file_searches: Calls of the built-in file search.
            time: When it began (Unix time, seconds), or None.

        Raises:
            ConfigurationError: A number is negative, or there is no model call.
        """
        steps = whole_within("model_calls", model_calls, 1, 10_000) - 1
        whole_within("file_searches", file_searches, 0, 10_000)
        if not steps:
            return cls((CallShape(input_tokens, output_tokens, reasoning_tokens),), file_searches, time)
        first = CallShape(input_tokens, step_output_tokens)
        between = CallShape(tool_tokens, step_output_tokens)
        last = CallShape(tool_tokens, output_tokens, reasoning_tokens)
        return cls((first, *[between] * (steps - 1), last), file_searches, time)

    @property
    def said_tokens(self) -> int:
        """The user's message and the last answer, without what tools said between them."""
        if not self.calls:
            return 0
        last = self.calls[-1]
        return self.calls[0].added_tokens + last.output_tokens - last.reasoning_tokens


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PromptCaching(Value):
    """How much of what could come from the prompt cache does.

    Raises:
        ConfigurationError: A value is outside its limits.
    """

    hits: float = 1.0
    """The share of runs whose first request finds its thread's prefix still kept, 0 to 1. Requests of the same run
    follow each other within seconds and always do."""
    lifetime: float | None = None
    """Seconds after which a prefix that nobody read is forgotten, for runs that have a time; None never forgets."""
    shared_prefix: bool = True
    """Whether instructions and tools are kept from one thread to the next."""

    def __post_init__(self) -> None:
        number_within("PromptCaching hits", self.hits, 0, 1)
        if self.lifetime is not None:
            number_within("PromptCaching lifetime", self.lifetime, 0)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ThreadTerms(Value):
    """What a thread is billed by.

    Raises:
        ConfigurationError: The model has no known price, or a value is outside its limits.
    """

    model: str
    fixed_tokens: int = 0
    """Instructions and tools, which every request carries and no rotation removes."""
    rotation: ThreadRotation | None = None
    """When the thread begins anew; None never does."""
    caching: PromptCaching | None = PromptCaching()
    """None where prompt caching is off: nothing is read from a cache and nothing is written to it."""
    carried_tokens: int | None = None
    """What a rotation carries over, where it is known, such as from ``thread.rotated`` events. None goes by the
    rotation's `CarryOver`: the last turns as far as they fit, and a digest of the rest that is as long as it may be."""
    context_window: int | None = None
    """The most that a request may read. What is older is left out then, as with ``truncation="auto"``, and only the
    instructions and tools can come from the cache. None sets no limit."""
    service_tier: str | None = None
    """Whose prices count: None the standard ones, else such as ``flex`` or ``batch``."""
    prices: PriceBook | None = None
    """The prices to go by; None takes the published ones."""

    def __post_init__(self) -> None:
        whole_within("fixed_tokens", self.fixed_tokens, 0, _MOST_TOKENS)
        if self.carried_tokens is not None:
            whole_within("carried_tokens", self.carried_tokens, 0, _MOST_TOKENS)
        if self.context_window is not None:
            whole_within("context_window", self.context_window, self.fixed_tokens + CACHE_MINIMUM, _MOST_TOKENS)
        if self.rotation is not None and self.carried_tokens is None and not _known(self.rotation):
            raise ConfigurationError(
                f"the rotation's carry_over is {self.rotation.carry_over!r}, whose size is not known: give"
                " carried_tokens, as events of kind thread.rotated tell them, or CarryOver(…)"
            )

    def price(self) -> Price:
        """What the model costs.

        Raises:
            ConfigurationError: That is not known.
        """
        book = PriceBook() if self.prices is None else self.prices
        return _price(book, self.model, self.service_tier)

    def begin(self) -> ThreadMeter:
        """Begin a thread.

        Raises:
            ConfigurationError: The price of the model is not known.
        """
        return ThreadMeter(self)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RunCost(Value):
    """What one run was billed."""

    usage: Usage
    """All its requests; that of a summary for a rotation is among them."""
    cost: Decimal
    """US dollars."""
    context_tokens: int
    """What the next run's first request reads before anything new."""
    rotated: bool = False
    """Whether the thread began a new generation before it."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ThreadCost(Value):
    """What a thread was billed."""

    runs: tuple[RunCost, ...]
    usage: Usage
    cost: Decimal
    """US dollars."""
    rotations: int


class ThreadMeter:
    """Counts what a thread is billed, run by run.

    Args:
        terms: What it is billed by.

    Raises:
        ConfigurationError: The price of the model, or of the model that writes summaries, is not known.
    """

    def __init__(self, terms: ThreadTerms) -> None:
        self._terms = terms
        self._price = terms.price()
        self._writes = self._price.cache_write != self._price.input
        self._summary: tuple[int, Price] | None = None
        rotation = terms.rotation
        self._carry = _carry_over(rotation)
        if self._carry.summary_model is not None and rotation is not None:
            book = PriceBook() if terms.prices is None else terms.prices
            self._summary = self._carry.summary_tokens, _price(book, self._carry.summary_model, None)
        self._history = 0
        self._turns = 0
        self._read = terms.fixed_tokens if self._shares() else 0
        self._said: list[int] = []
        self._began: float | None = None
        self._last: float | None = None
        self._cut = False

    @property
    def context_tokens(self) -> int:
        """What the next request reads before anything new."""
        return self._terms.fixed_tokens + self._history

    def run(self, shape: RunShape) -> RunCost:
        """Bill one run.

        Raises:
            ConfigurationError: The model's fee for the file search is not known.
        """
        usage, cost = Usage(), Decimal(0)
        now = shape.time
        rotated = self._is_due(now)
        if rotated:
            usage, cost = self._rotate()
        if self._began is None:
            self._began = now
        for number, call in enumerate(shape.calls):
            billed = self._request(call, first=number == 0, now=now)
            usage += billed
            amount = self._price.cost(billed)
            assert amount is not None  # only calls of tools can be without a price
            cost += amount
        self._turns += 1
        self._said.append(shape.said_tokens)
        self._last = now if now is not None else self._last
        return RunCost(usage, cost + self._fees(shape), self.context_tokens, rotated)

    def _request(self, call: CallShape, *, first: bool, now: float | None) -> Usage:
        terms = self._terms
        read = self.context_tokens + call.added_tokens
        window = terms.context_window
        cut = window is not None and read > window
        if window is not None and cut:
            self._history = max(0, window - terms.fixed_tokens - call.added_tokens)
            read = window
        cached = written = 0
        if terms.caching is not None:
            fixed = terms.fixed_tokens if self._shares() else 0
            known = fixed if cut or self._cut else self._read
            cached = self._kept(min(known, read), min(fixed, read), first=first, now=now)
            written = max(0, _rounded(read) - cached) if self._writes else 0
        self._cut = cut
        self._read = read
        self._history += call.added_tokens + call.output_tokens - call.reasoning_tokens
        return Usage(read, cached, written, call.output_tokens, call.reasoning_tokens, 0, 1)

    def _kept(self, known: int, fixed: int, *, first: bool, now: float | None) -> int:
        """What of a prefix that was read before still comes from the cache."""
        caching = self._terms.caching
        assert caching is not None
        whole, least = _rounded(known), _rounded(fixed)
        if not first:
            return whole
        if caching.lifetime is not None and now is not None and self._last is not None:
            return whole if now - self._last <= caching.lifetime else least
        return round(caching.hits * whole + (1 - caching.hits) * least)

    def _is_due(self, now: float | None) -> bool:
        rotation = self._terms.rotation
        if rotation is None or self._turns == 0:
            return False
        age = 0.0 if now is None or self._began is None else now - self._began
        return rotation.reached(self._turns, self.context_tokens, self._terms.fixed_tokens, age) is not None

    def _rotate(self) -> tuple[Usage, Decimal]:
        usage, cost = Usage(), Decimal(0)
        carried = self._carried()
        if self._summary is not None:
            tokens, price = self._summary
            usage = Usage(self._history + _SUMMARY_PROMPT, 0, 0, tokens, 0, 0, 1)
            if price.cache_write != price.input and self._terms.caching is not None:
                usage += Usage(cache_write_tokens=_rounded(usage.input_tokens))
            amount = price.cost(usage)
            assert amount is not None
            cost = amount
        self._history = carried
        self._read = self._terms.fixed_tokens if self._shares() else 0
        self._turns = 0
        self._said = []
        self._began = None
        self._cut = False
        return usage, cost

    def _carried(self) -> int:
        if self._terms.carried_tokens is not None:
            return min(self._terms.carried_tokens, self._history)
        carry, tail = self._carry, 0
        for number, said in enumerate(reversed(self._said[-carry.tail_turns :] if carry.tail_turns else [])):
            if tail + said > carry.tail_tokens:
                tail = carry.tail_tokens if number == 0 else tail
                break
            tail += said
        summary = 0 if self._summary is None else self._summary[0]
        return min(self._history, tail + carry.digest_tokens + summary)

    def _fees(self, shape: RunShape) -> Decimal:
        if not shape.file_searches:
            return Decimal(0)
        fee = self._price.cost(Usage(), {"file_search": shape.file_searches})
        if fee is None:
            raise ConfigurationError(
                f"the fee for a file search by {self._terms.model!r} is not known: give it, such as"
                " Price(…, tool_fees={'file_search': '2.50'})"
            )
        return fee

    def _shares(self) -> bool:
        return self._terms.caching is not None and self._terms.caching.shared_prefix


def thread_cost(terms: ThreadTerms, runs: Iterable[RunShape]) -> ThreadCost:
    """Bill a thread, from its first run on.

    Args:
        terms: What it is billed by.
        runs: What was asked and answered, in order.

    Raises:
        ConfigurationError: A price is not known.
    """
    meter = terms.begin()
    billed = tuple(meter.run(run) for run in runs)
    usage = sum((run.usage for run in billed), Usage())
    cost = sum((run.cost for run in billed), Decimal(0))
    return ThreadCost(billed, usage, cost, sum(run.rotated for run in billed))


def _rounded(tokens: int) -> int:
    return 0 if tokens < CACHE_MINIMUM else tokens // CACHE_STEP * CACHE_STEP


def _known(rotation: ThreadRotation) -> bool:
    return rotation.carry_over is None or isinstance(rotation.carry_over, CarryOver)


def _carry_over(rotation: ThreadRotation | None) -> CarryOver:
    given = None if rotation is None else rotation.carry_over
    return given if isinstance(given, CarryOver) else CarryOver()


def _price(book: PriceBook, model: str, tier: str | None) -> Price:
    price = book.price(model, tier)
    if price is None:
        where = "" if tier is None else f" in the service tier {tier!r}"
        raise ConfigurationError(
            f"the price of the model {model[:80]!r}{where} is not known: name another model, or give its price with"
            " PriceBook({model: Price(input='0.10', output='0.50')}), on the command line with"
            " --price MODEL=INPUT,OUTPUT"
        )
    return price
