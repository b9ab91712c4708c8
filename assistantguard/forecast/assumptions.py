"""A forecast from assumptions."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

from assistantguard.errors import ConfigurationError
from assistantguard.forecast.checks import known_names, number_within, whole_within
from assistantguard.forecast.curves import Sums, ThreadCurve, TypicalRun, Volume, add_span
from assistantguard.forecast.result import MONTH_DAYS, STORAGE_NOTE, Forecast, Period, spread, storage_cost
from assistantguard.forecast.rotations import parse_rotation
from assistantguard.forecast.thread_cost import PromptCaching, ThreadTerms
from assistantguard.forecast.windows import context_window
from assistantguard.models.values import Value
from assistantguard.prices import PriceBook

__all__ = [
    "Assumptions",
    "Quantity",
    "assumptions_of",
    "assumptions_values",
    "forecast_from_assumptions",
    "read_assumptions",
    "read_values",
]

Quantity = float | tuple[float, float, float]
"""A number, or its low, likely and high value."""

_LIMITS: dict[str, tuple[float, float]] = {
    "users": (0, 1e9),
    "threads_per_user": (1e-6, 1e6),
    "messages": (0, 1e6),
    "input_tokens": (0, 1e6),
    "output_tokens": (0, 1e6),
    "tool_steps": (0, 100),
    "tool_tokens": (0, 1e6),
    "growth": (-1, 10),
    "file_searches": (0, 100),
    "vector_gigabytes": (0, 1e6),
    "vector_growth": (-1e6, 1e6),
    "cache_hits": (0, 1),
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Assumptions(Value):
    """What a forecast goes by that has no history. Quantities are numbers, or ``(low, likely, high)``.

    Raises:
        ConfigurationError: A value is outside its limits.
    """

    users: Quantity = 100.0
    """Who write in the first month."""
    threads_per_user: Quantity = 1.0
    """Threads that a user writes to in a month."""
    messages: Quantity = 50.0
    """What a user sends in a month, over all threads."""
    thread_months: int = 1
    """For how many months a thread is written to. Longer ones cost more: all that was said is read again."""
    input_tokens: Quantity = 150.0
    """Of a message."""
    output_tokens: Quantity = 300.0
    """Of an answer, reasoning included."""
    fixed_tokens: int = 500
    """Instructions and tools, which every request reads."""
    tool_steps: Quantity = 0.0
    """Rounds of tool calls for a message. Each is another request that reads the whole thread."""
    tool_tokens: Quantity = 150.0
    """What the tools of a step return."""
    step_output_tokens: float = 30.0
    """What the model writes to ask for a step."""
    reasoning_tokens: float = 0.0
    """The part of `output_tokens` that is reasoning: it is paid once, and not read again."""
    growth: Quantity = 0.0
    """By how much there are more users each month: 0.15 is 15 %."""
    file_searches: Quantity = 0.0
    """Calls of the built-in file search for a message."""
    vector_gigabytes: Quantity = 0.0
    """In vector stores when the first month begins."""
    vector_growth: Quantity = 0.0
    """By how many gigabytes they grow each month."""
    cache_hits: Quantity = (0.0, 0.5, 1.0)
    """Of messages, the share that comes while the prompt cache still keeps the thread."""
    caching: tuple[bool, ...] = (True,)
    """Whether prompt caching is on; give both to see them side by side."""
    models: tuple[str, ...] = ("gpt-6-luna",)
    """Side by side."""
    rotations: tuple[str, ...] = ("none",)
    """Side by side; see `parse_rotation`."""
    service_tier: str | None = None
    months: int = 12
    uncertainty: float = 0.2
    """By which share a quantity given as one number may turn out lower or higher."""

    def __post_init__(self) -> None:
        for name, (least, most) in _LIMITS.items():
            _check(name, getattr(self, name), least, most)
        whole_within("thread_months", self.thread_months, 1, 1_200)
        whole_within("months", self.months, 1, 120)
        whole_within("fixed_tokens", self.fixed_tokens, 0, 10**7)
        number_within("step_output_tokens", self.step_output_tokens, 0, 1e6)
        number_within("reasoning_tokens", self.reasoning_tokens, 0, 1e6)
        number_within("uncertainty", self.uncertainty, 0, 0.99)
        if self.service_tier is not None and not isinstance(self.service_tier, str):
            raise ConfigurationError(f"service_tier is {self.service_tier!r}: name one, such as flex, or leave it out")
        for name, kind in (("models", str), ("rotations", str), ("caching", bool)):
            values = getattr(self, name)
            if not values or not all(isinstance(value, kind) for value in values):
                raise ConfigurationError(f"{name} is {values!r}: give at least one {kind.__name__} in a list")
        for rotation in self.rotations:
            parse_rotation(rotation)

    def likely(self, name: str) -> float:
        """The likely value of a quantity."""
        value = getattr(self, name)
        return float(value[1] if isinstance(value, tuple) else value)

    def ends(self, name: str) -> tuple[float, float]:
        """The low and the high value of a quantity."""
        value = getattr(self, name)
        least, most = _LIMITS[name]
        if isinstance(value, tuple):
            return value[0], value[2]
        width = abs(value) * self.uncertainty
        return max(least, value - width), min(most, value + width)


def forecast_from_assumptions(given: Assumptions, *, prices: PriceBook | None = None) -> list[Forecast]:
    """Forecast month by month, one for each model, rotation and way of caching.

    The first month begins with new threads. The range: each assumed quantity is set to its low and to its high value
    while the others stay; what that moves the cost by is added up as the root of the sum of squares.

    Args:
        given: What is assumed.
        prices: The prices to go by; None takes the published ones.

    Raises:
        ConfigurationError: A price is not known.
    """
    book = PriceBook() if prices is None else prices
    return [
        _forecast(given, model, rotation, caching, book)
        for model in given.models
        for rotation in given.rotations
        for caching in given.caching
    ]


def _forecast(given: Assumptions, model: str, rotation: str, caching: bool, book: PriceBook) -> Forecast:
    window = context_window(model) if book.price(model) is not None else None

    def curve(values: Mapping[str, float]) -> ThreadCurve:
        terms = ThreadTerms(
            model,
            given.fixed_tokens,
            parse_rotation(rotation),
            PromptCaching(hits=values["cache_hits"]) if caching else None,
            context_window=window,
            service_tier=given.service_tier,
            prices=book,
        )
        run = TypicalRun(
            values["input_tokens"],
            values["output_tokens"],
            values["tool_steps"],
            values["tool_tokens"],
            given.step_output_tokens,
            min(given.reasoning_tokens, values["output_tokens"]),
            values["file_searches"],
        )
        return ThreadCurve(terms, run)

    likely = {name: given.likely(name) for name in _LIMITS}
    months = _months(given, likely)
    costs_by = curve(likely)
    sums = [costs_by.sums(month.volume) for month in months]
    costs = [part.cost + month.storage for part, month in zip(sums, months, strict=True)]

    ways = {}
    for name in _LIMITS:
        low, high = given.ends(name)
        if low != high:
            ways[name] = tuple(_costs(given, {**likely, name: end}, curve) for end in (low, high))
    ranges, (low_total, high_total) = spread(costs, ways)  # type: ignore[arg-type]  # pairs, from a generator of two
    periods = tuple(
        _period(number, month, part, cost, ends)
        for number, (month, part, cost, ends) in enumerate(zip(months, sums, costs, ranges, strict=True), start=1)
    )
    return Forecast(
        model,
        "no rotation" if rotation == "none" else f"rotation {rotation}",
        "prompt caching" if caching else "no prompt caching",
        periods,
        low_total,
        high_total,
        f"each quantity moved alone to its low and high value ({given.uncertainty:.0%} either way where only one was"
        " given), and these effects added as the root of the sum of squares",
        _notes(given),
    )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Month(Value):
    volume: Volume
    users: float
    threads: float
    interactions: float
    storage: Decimal


def _months(given: Assumptions, values: Mapping[str, float]) -> list[_Month]:
    """The runs of each month: threads by how many months old they are."""
    depth = values["messages"] / values["threads_per_user"]
    cohorts: list[float] = []
    months = []
    for number in range(given.months):
        users = values["users"] * (1 + values["growth"]) ** number
        threads = users * values["threads_per_user"]
        cohorts = cohorts[: given.thread_months - 1]
        kept = sum(cohorts)
        if kept > threads:
            cohorts = [count * threads / kept for count in cohorts]
        cohorts.insert(0, max(0.0, threads - kept))
        volume: Volume = {}
        for age, count in enumerate(cohorts):
            add_span(volume, depth * age, depth * (age + 1), count)
        held = values["vector_gigabytes"] + values["vector_growth"] * (number + 0.5)
        stored = storage_cost(max(0.0, held), MONTH_DAYS)
        months.append(_Month(volume, users, threads, users * values["messages"], stored))
    return months


def _costs(given: Assumptions, values: Mapping[str, float], curve: Any) -> Sequence[Decimal]:
    by = curve(values)
    return [by.cost(month.volume) + month.storage for month in _months(given, values)]


def _period(number: int, month: _Month, sums: Sums, cost: Decimal, ends: tuple[Decimal, Decimal]) -> Period:
    return Period(
        number,
        None,
        MONTH_DAYS,
        month.users,
        month.threads,
        month.interactions,
        sums.requests,
        sums.input_tokens,
        sums.cached_tokens,
        sums.output_tokens,
        sums.input_tokens - sums.new_tokens,
        month.storage,
        cost,
        *ends,
    )


def _notes(given: Assumptions) -> tuple[str, ...]:
    depth = given.likely("messages") / given.likely("threads_per_user")
    lasts = "one month" if given.thread_months == 1 else f"{given.thread_months} months"
    return (
        f"a thread gets {depth:g} messages a month for {lasts}; every request reads the whole of it again",
        STORAGE_NOTE,
    )


def _check(name: str, value: object, least: float, most: float) -> None:
    if not isinstance(value, tuple):
        number_within(name, value, least, most)
        return
    if len(value) != 3:
        raise ConfigurationError(f"{name} has {len(value)} values, a range has three: low, likely and high")
    numbers = [number_within(name, each, least, most) for each in value]
    if numbers != sorted(numbers):
        raise ConfigurationError(f"{name} is {value!r}, which does not ascend: give low, likely and high in that order")


def read_assumptions(path: Path) -> Assumptions:
    """Read assumptions from a TOML or JSON file.

    The keys are the fields of `Assumptions`; a range is a list of three numbers.

    Raises:
        ConfigurationError: It is no such file, or a key or a value is wrong.
        OSError: It cannot be read.
    """
    return assumptions_of(read_values(path), str(path))


def read_values(path: Path) -> dict[str, Any]:
    """Read the names and values in a TOML or JSON file.

    Raises:
        ConfigurationError: It is no such file.
        OSError: It cannot be read.
    """
    data = path.read_bytes()
    try:
        values = json.loads(data) if path.suffix.lower() == ".json" else _toml(data.decode(), path)
    except ValueError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error}): write TOML, or JSON with the ending .json"
        ) from error
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} holds no table: write names and values, such as users = 100")
    return values


def assumptions_values(given: Assumptions) -> dict[str, Any]:
    """The names and values of assumptions, as `assumptions_of` takes them."""
    return {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}


def assumptions_of(values: Mapping[str, Any], where: str = "the assumptions") -> Assumptions:
    """Assumptions from names and values, as files hold them.

    Raises:
        ConfigurationError: A name or a value is wrong.
    """
    fields = tuple(field.name for field in dataclasses.fields(Assumptions))
    known_names(where, values, fields)
    ready: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name in ("models", "rotations", "caching"):
        if name in ready and not isinstance(ready[name], tuple):
            ready[name] = (ready[name],)
    return Assumptions(**ready)


def _toml(text: str, path: Path) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            tomllib = import_module("tomli")
        except ModuleNotFoundError:
            raise ConfigurationError(
                f"{path} is TOML, which needs tomli on this Python: pip install 'assistantguard[cli]', or write JSON"
            ) from None
    return tomllib.loads(text)
