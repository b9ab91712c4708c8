"""The ``forecast`` command and what belongs to it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistantguard._core import LEDGER_VARIABLE
from assistantguard.cli.database import Format, FormatOption, moment, opened
from assistantguard.cli.output import errors_as_text, say, say_bad_lines, within
from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from assistantguard.forecast import Assumptions, Forecast, History, Wave
    from assistantguard.prices import Price, PriceBook

__all__ = ["capacity", "forecast", "scenarios"]

_ASSUMED = "What is assumed"
_SOURCES = "Where it comes from"

forecast = typer.Typer(
    name="forecast",
    help="Forecast what traffic will cost, and how much of it fits through at once.",
    invoke_without_command=True,
    no_args_is_help=True,
)

PriceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--price",
        metavar="MODEL=INPUT,OUTPUT[,CACHED[,WRITE]]",
        help="What a model costs, in US dollars per million tokens; may be given more than once.",
    ),
]


def _quantity(help_text: str) -> Any:
    return typer.Option(metavar="N or LOW:LIKELY:HIGH", help=help_text, rich_help_panel=_ASSUMED, show_default=False)


@forecast.callback()
def _forecast(
    context: typer.Context,
    *,
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            metavar="URL",
            help=f"The guards' database, as history. Default, where nothing else is given: the variable"
            f" {LEDGER_VARIABLE}.",
            show_default=False,
            rich_help_panel=_SOURCES,
        ),
    ] = None,
    events: Annotated[
        list[Path] | None,
        typer.Option(
            help="JSON lines that the telemetry wrote, as history; may be given more than once.",
            rich_help_panel=_SOURCES,
        ),
    ] = None,
    assumptions: Annotated[
        Path | None,
        typer.Option(help="TOML or JSON file of assumptions; options go before it.", rich_help_panel=_SOURCES),
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(help="One of the examples that `forecast scenarios` lists.", rich_help_panel=_SOURCES),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Of the history, from then on: 2026-11-01, or 90d ago. Default: all of it.", rich_help_panel=_SOURCES
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(help="Of the history, up to then. Default: now, or the last event.", rich_help_panel=_SOURCES),
    ] = None,
    users: Annotated[str | None, _quantity("Who write in the first month.")] = None,
    threads_per_user: Annotated[str | None, _quantity("Threads that a user writes to in a month.")] = None,
    messages: Annotated[str | None, _quantity("Messages of a user in a month, over all threads.")] = None,
    thread_months: Annotated[
        int | None, typer.Option(help="Months that a thread is written to.", rich_help_panel=_ASSUMED)
    ] = None,
    input_tokens: Annotated[str | None, _quantity("Tokens of a message.")] = None,
    output_tokens: Annotated[str | None, _quantity("Tokens of an answer, reasoning included.")] = None,
    fixed_tokens: Annotated[
        int | None, typer.Option(help="Tokens of instructions and tools.", rich_help_panel=_ASSUMED)
    ] = None,
    tool_steps: Annotated[str | None, _quantity("Rounds of tool calls for a message.")] = None,
    tool_tokens: Annotated[str | None, _quantity("What the tools of a step return, in tokens.")] = None,
    file_searches: Annotated[str | None, _quantity("Built-in file searches for a message.")] = None,
    cache_hits: Annotated[
        str | None, _quantity("Share of messages that come while the prompt cache keeps the thread.")
    ] = None,
    no_caching: Annotated[
        bool, typer.Option("--no-caching", help="Without prompt caching.", rich_help_panel=_ASSUMED)
    ] = False,
    uncertainty: Annotated[
        float | None,
        typer.Option(help="By which share a single number may turn out otherwise (0.2).", rich_help_panel=_ASSUMED),
    ] = None,
    growth: Annotated[
        str | None,
        typer.Option(
            metavar="N or LOW:LIKELY:HIGH",
            help="By how much more users there are each month: 0.15 is 15 %. With a history: more new threads each"
            " month, one number. Default there: its own trend, which fades.",
            show_default=False,
        ),
    ] = None,
    vector_gigabytes: Annotated[
        float | None, typer.Option(help="In vector stores when the first month begins.")
    ] = None,
    vector_growth: Annotated[float | None, typer.Option(help="Gigabytes that they grow by each month.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Models, side by side; with a history, beside the one in use.")
    ] = None,
    rotation: Annotated[
        list[str] | None,
        typer.Option(
            help="Rotations, side by side: none, default, or settings such as turns=30 or history=4000,tail=2."
        ),
    ] = None,
    price: PriceOption = None,
    months: Annotated[int | None, typer.Option(help="How many (12).", callback=within(1, 120))] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a picture, too: FILE.svg, or FILE.html with its figures.")
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Forecast month by month what traffic will cost, with a range, from the books' history or from assumptions.

    Every request is billed for the whole thread that it reads again; prompt caching, rotations and steps of tools are
    counted as they are billed. A cost that is not known is shown as unknown, and never counted as zero.
    """
    if context.invoked_subcommand is not None:
        return
    assumed = {
        "users": users,
        "threads_per_user": threads_per_user,
        "messages": messages,
        "thread_months": thread_months,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "fixed_tokens": fixed_tokens,
        "tool_steps": tool_steps,
        "tool_tokens": tool_tokens,
        "file_searches": file_searches,
        "cache_hits": cache_hits,
        "caching": (False,) if no_caching else None,
        "uncertainty": uncertainty,
    }
    shared = {
        "growth": growth,
        "vector_gigabytes": vector_gigabytes,
        "vector_growth": vector_growth,
        "models": tuple(model) if model else None,
        "rotations": tuple(rotation) if rotation else None,
        "months": months,
    }
    with errors_as_text():
        book = _prices(price)
        sources = {"--database": database, "--events": events, "--assumptions": assumptions, "--scenario": scenario}
        given = [name for name, value in sources.items() if value]
        if len(given) > 1:
            raise ConfigurationError(
                f"{' and '.join(given)} are given: a forecast goes by one of them, leave out the rest"
            )
        options = {name: value for name, value in assumed.items() if value is not None}
        if not given and not options and os.environ.get(LEDGER_VARIABLE):
            given = ["--database"]
        about: dict[str, Any] = {}
        if given and given[0] in {"--database", "--events"}:
            if options:
                first = "--" + next(iter(options)).replace("_", "-")
                raise ConfigurationError(
                    f"{first} is assumed, and {given[0]} is history: leave out one of them; a history takes --growth,"
                    " --model, --rotation, --months and the vector stores"
                )
            found = _from_history(_history(database, events, since, until), shared, book)
        else:
            if since or until:
                raise ConfigurationError("--since and --until are of a history: give --database or --events, too")
            found, about = _assumed(assumptions, scenario, {**options, **shared}, book, form)
            if not found:
                return
        if plot is not None:
            from assistantguard.forecast.plot import write_plot

            write_plot(plot, found)
            say(f"wrote {plot}")
        _write(form, found, about)


def _write(form: Format, found: Sequence[Forecast], about: Mapping[str, Any]) -> None:
    from assistantguard.cli import forecast_view

    forecast_view.write_forecasts(form, found, about)


def _history(database: str | None, events: Sequence[Path] | None, since: str | None, until: str | None) -> History:
    import datetime as dt

    from assistantguard.forecast import read_database, read_events

    now = time.time()
    begins, ends = moment("--since", since, dt.timezone.utc, now), moment("--until", until, dt.timezone.utc, now)
    if begins is not None and ends is not None and begins >= ends:
        raise ConfigurationError(f"--since {since} is not before --until {until}: nothing lies between them")
    if events:
        history = read_events(events, begins=begins, ends=ends)
        if history.bad is not None:
            say_bad_lines(history.bad)
        return history
    with opened(database) as books:
        return read_database(books, begins=begins, ends=now if ends is None else ends)


def _from_history(history: History, shared: Mapping[str, Any], book: PriceBook | None) -> list[Forecast]:
    from assistantguard.forecast import HistoryOptions, forecast_from_history

    given = {name: value for name, value in shared.items() if value is not None}
    if "growth" in given:
        value = _number("--growth", given["growth"])
        if isinstance(value, tuple):
            raise ConfigurationError(
                f"--growth is {given['growth']!r}, a history takes one number: the range comes from its scatter"
            )
        given["growth"] = value
    return forecast_from_history(history, HistoryOptions(**given), prices=book)


def _assumed(
    file: Path | None, name: str | None, options: Mapping[str, Any], book: PriceBook | None, form: Format
) -> tuple[list[Forecast], dict[str, Any]]:
    from assistantguard.forecast import Assumptions, forecast_from_assumptions, scenario
    from assistantguard.forecast.assumptions import assumptions_values, read_values

    given = {
        key: _number("--" + key.replace("_", "-"), value) if isinstance(value, str) else value
        for key, value in options.items()
        if value is not None
    }
    about: dict[str, Any] = {}
    base: Mapping[str, Any] = {}
    if name is not None:
        example = scenario(name)
        about = {
            "scenario": example.name,
            "title": example.title,
            "assumption": example.assumption,
            "guides": example.guides,
        }
        if not isinstance(example.subject, Assumptions):
            if given:
                raise ConfigurationError(
                    f"the scenario {name!r} is of users at once, which take no such options: see"
                    " assistantguard forecast capacity --help"
                )
            _say_capacity(form, example.subject, None, None, book, about)
            return [], about
        base = assumptions_values(example.subject)
    elif file is not None:
        base = read_values(file)
    elif not {"users", "messages"} & given.keys():
        raise ConfigurationError(
            "there is nothing to go by: give --database URL or --events FILE (history), --assumptions FILE,"
            " --scenario NAME, or assumptions such as --users 100 --messages 50"
        )
    return forecast_from_assumptions(_made(base, given, file), prices=book), about


def _made(base: Mapping[str, Any], given: Mapping[str, Any], file: Path | None) -> Assumptions:
    from assistantguard.forecast.assumptions import assumptions_of

    return assumptions_of({**base, **given}, "the assumptions" if file is None else str(file))


@forecast.command()
def capacity(
    *,
    users: Annotated[int, typer.Option(help="How many press the button at once.", callback=within(1))],
    model: Annotated[str, typer.Option(help="Who answers.")] = "gpt-6-luna",
    input_tokens: Annotated[int, typer.Option(help="Tokens of a message.", callback=within(0))] = 150,
    output_tokens: Annotated[int, typer.Option(help="Tokens of an answer.", callback=within(0))] = 300,
    context_tokens: Annotated[
        int,
        typer.Option(help="What a request reads besides: instructions, tools and the thread.", callback=within(0)),
    ] = 500,
    tool_steps: Annotated[
        int, typer.Option(help="Rounds of tool calls for a message, each another request.", callback=within(0, 100))
    ] = 0,
    tool_tokens: Annotated[
        int, typer.Option(help="What the tools of a step return, in tokens.", callback=within(0))
    ] = 150,
    cached: Annotated[
        bool, typer.Option("--cached", help="The context comes from the prompt cache: cheaper, not fewer tokens.")
    ] = False,
    seconds: Annotated[float, typer.Option("--within", help="Seconds within which all are to be sent.")] = 60.0,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="Your own limit, from the account's page Limits.", callback=within(1))
    ] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="The same, in tokens.", callback=within(1))] = None,
    price: PriceOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Work out what many users at once need: requests and tokens a minute, which tier suffices, cost, and time.

    The time is the bound that no pacing can beat: tokens, or requests, divided by what a minute allows.
    """
    with errors_as_text():
        from assistantguard.forecast import Wave

        wave = Wave(
            users,
            model,
            input_tokens,
            output_tokens,
            context_tokens,
            tool_steps,
            tool_tokens,
            cached=cached,
            within=seconds,
        )
        _say_capacity(form, wave, requests_per_minute, tokens_per_minute, _prices(price), {})


def _say_capacity(
    form: Format,
    wave: Wave,
    requests: int | None,
    tokens: int | None,
    book: PriceBook | None,
    about: Mapping[str, Any],
) -> None:
    from assistantguard.cli import forecast_view
    from assistantguard.forecast import capacity as work_out

    found = work_out(wave, requests_per_minute=requests, tokens_per_minute=tokens, prices=book)
    forecast_view.write_capacity(form, found, about)


@forecast.command()
def scenarios(*, form: FormatOption = Format.TABLE) -> None:
    """List the examples: the scenarios of cost guides, each with what it assumes and what guides get wrong."""
    from assistantguard.cli import forecast_view

    forecast_view.write_scenarios(form)


def _number(name: str, text: str) -> float | tuple[float, ...]:
    """A number, or several with colons between them.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        numbers = tuple(float(part) for part in text.split(":"))
    except ValueError:
        numbers = ()
    if len(numbers) not in {1, 3}:
        raise ConfigurationError(f"{name} is {text[:60]!r}: give a number, or three as LOW:LIKELY:HIGH")
    return numbers[0] if len(numbers) == 1 else numbers


def _prices(given: Sequence[str] | None) -> PriceBook | None:
    if not given:
        return None
    from assistantguard.prices import Price, PriceBook

    prices: dict[str, Price] = {}
    for text in given:
        model, equals, rates = text.rpartition("=")
        parts = [part.strip() for part in rates.split(",")]
        if not equals or not model or len(parts) not in {2, 3, 4}:
            raise ConfigurationError(
                f"--price is {text[:80]!r}: give MODEL=INPUT,OUTPUT in US dollars per million tokens, such as"
                " my-model=0.10,0.50, and then CACHED and WRITE where they differ from INPUT"
            )
        names = ("input", "output", "cached_input", "cache_write")
        rates_by_name: dict[str, Any] = dict(zip(names, parts, strict=False))
        prices[model] = Price(**rates_by_name)
    return PriceBook(prices)
