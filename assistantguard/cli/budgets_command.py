"""The ``budgets`` commands: what stands on the accounts of budgets, and limits that are set for one of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistantguard._text import dollars, number, when
from assistantguard.cli.database import (
    Column,
    DatabaseOption,
    Format,
    FormatOption,
    PoliciesOption,
    opened,
    whole,
    write,
)
from assistantguard.cli.output import say, within
from assistantguard.cli.own_limits import own_limits
from assistantguard.errors import ConfigurationError
from assistantguard.ledger.account_names import parse_account, per_of
from assistantguard.ledger.budget_lines import budget_lines

if TYPE_CHECKING:
    from assistantguard.policies import Metric
    from assistantguard.storage import Database

__all__ = ["budgets", "clear_limit", "set_limit"]

budgets = typer.Typer(
    name="budgets",
    help="Show what stands on the accounts of budgets; set limits for one account, and clear them.",
    rich_markup_mode="markdown",
)

_MOST = 100_000

AccountArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[ACCOUNT]",
        help="The account, as the list shows it; with a window for that window only. Or give --user and so on.",
        show_default=False,
    ),
]
UserOption = Annotated[str | None, typer.Option("--user", help="The user whose budget it is.")]
TenantOption = Annotated[str | None, typer.Option("--tenant", help="The tenant whose budget it is.")]
ApplicationOption = Annotated[bool, typer.Option("--application", help="The whole application's budget.")]
PerOption = Annotated[str, typer.Option("--per", help="The budget's window: hour, day, week, month, 90m, 7d, ever.")]
ZoneOption = Annotated[str, typer.Option("--timezone", help="The budget's time zone.")]
NameOption = Annotated[str | None, typer.Option("--name", help="The budget's name, where it was given one.")]


@budgets.callback(invoke_without_command=True)
def _listed(
    context: typer.Context,
    *,
    database: DatabaseOption = None,
    user: Annotated[str | None, typer.Option(help="This user's only.")] = None,
    tenant: Annotated[str | None, typer.Option(help="This tenant's only.")] = None,
    policies: PoliciesOption = None,
    past: Annotated[bool, typer.Option("--past", help="Windows that are over, too, as long as they are kept.")] = False,
    limit: Annotated[int, typer.Option(help="How many at most.", callback=within(1, _MOST))] = 200,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the accounts of budgets: spent for good, held by requests in flight, limits, and what is left.

    A budget's own limits stand in the program, not in the database: --policies says where. Those that were set with
    `set`, or with `bot.set_budget(…)`, are known without it.
    """
    if context.invoked_subcommand is not None:
        context.obj = database
        return
    with opened(database) as books:
        if user is not None and tenant is not None:
            raise ConfigurationError("both --user and --tenant are given: give one of them")
        kind, owner = ("user", user) if user is not None else ("tenant", tenant)
        own = {} if policies is None else own_limits(policies)
        found = budget_lines(books, None if owner is None else (kind, owner), own, past=past, now=time.time())
        if not found:
            if owner is not None:
                raise ConfigurationError(f"no budget of the {kind} {owner[:80]!r} is in the books: see all without it")
            say("no budget has an account yet")
        rows = found[:limit]
    columns = (
        Column("account", "account", whole),
        Column("metric", "metric"),
        Column("committed", "spent", right=True, text=str),
        Column("held", "held", right=True, text=str),
        Column("limit", "limit", right=True, text=str),
        Column("override", "set", right=True, text=str),
        Column("left", "left", right=True, text=str),
        Column("renews_at", "renews (UTC)", when),
    )
    shown = rows if form is not Format.TABLE else [_for_people(row) for row in rows]
    write(form, columns, shown, title="Budgets", document={"budgets": rows, "more": len(found) > limit})
    if len(found) > limit:
        say(f"and {len(found) - limit:,} more: raise --limit {limit}")


@budgets.command("set")
def set_limit(
    context: typer.Context,
    account: AccountArgument = None,
    *,
    tokens: Annotated[int | None, typer.Option(help="The new limit, tokens.", show_default=False)] = None,
    cost: Annotated[str | None, typer.Option(help="The new limit, US dollars.", show_default=False)] = None,
    messages: Annotated[int | None, typer.Option(help="The new limit, messages.", show_default=False)] = None,
    user: UserOption = None,
    tenant: TenantOption = None,
    application: ApplicationOption = False,
    per: PerOption = "day",
    timezone: ZoneOption = "UTC",
    name: NameOption = None,
    database: DatabaseOption = None,
) -> None:
    """Set limits of one account, in place of the budget's own, for every program on this database."""
    from assistantguard.policies.budget import limit_of

    with opened(database or context.obj) as books:
        key = _key(_Whose(account, user, tenant, application=application, per=per, timezone=timezone, name=name))
        given: Mapping[Metric, Any] = {"tokens": tokens, "cost": cost, "messages": messages}
        limits = {
            metric: limit_of(f"--{metric}", metric, value) for metric, value in given.items() if value is not None
        }
        if not limits:
            raise ConfigurationError("no limit is given: give --tokens, --cost or --messages")
        _write_limits(books, key, limits)
        if not _known(books, key):
            say(f"nothing is booked on {key!r} yet: it takes effect where a program has such a budget")
    amounts = (_amount(metric, value) + ("" if metric == "cost" else f" {metric}") for metric, value in limits.items())
    say(f"{key!r} may spend {', '.join(amounts)}")


@budgets.command("clear")
def clear_limit(
    context: typer.Context,
    account: AccountArgument = None,
    *,
    user: UserOption = None,
    tenant: TenantOption = None,
    application: ApplicationOption = False,
    per: PerOption = "day",
    timezone: ZoneOption = "UTC",
    name: NameOption = None,
    database: DatabaseOption = None,
) -> None:
    """Clear the limits of one account: the budget's own are in force again."""
    from assistantguard.ledger.accounts import limit_rows

    with opened(database or context.obj) as books:
        key = _key(_Whose(account, user, tenant, application=application, per=per, timezone=timezone, name=name))
        there = {metric: None for each, metric, _ in limit_rows(books, prefix=key, limit=_MOST) if each == key}
        if not there:
            raise ConfigurationError(f"no limit is set for {key!r}: see which are with `assistantguard budgets`")
        _write_limits(books, key, there)
    say(f"{key!r} has the budget's own limits again")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Budgeted:
    application: bool
    per: str
    timezone: str
    name: str | None


@dataclass(frozen=True, slots=True)
class _Whose(_Budgeted):
    """Which account is meant."""

    account: str | None
    user: str | None
    tenant: str | None


def _key(whose: _Whose) -> str:
    """The account that is meant.

    Raises:
        ConfigurationError: None is, or more than one, or it is no budget's.
    """
    from assistantguard.models.names import check_name
    from assistantguard.policies import Budget

    named = {
        "ACCOUNT": whose.account,
        "--user": whose.user,
        "--tenant": whose.tenant,
        "--application": "" if whose.application else None,
    }
    given = [word for word, value in named.items() if value is not None]
    if len(given) != 1:
        what = " and ".join(given) if given else "neither an account nor --user, --tenant or --application"
        raise ConfigurationError(f"{what} {'are' if given else 'is'} given: give exactly one of them")
    if whose.account is not None:
        if parse_account(whose.account) is None:
            raise _no_account(whose.account)
        return whose.account
    kind: Any = given[0].removeprefix("--")
    owner = "" if kind == "application" else check_name(kind, named[given[0]])
    return Budget(kind, per_of(whose.per), tokens=1, timezone=whose.timezone, name=whose.name).key(owner)


def _no_account(account: str) -> ConfigurationError:
    return ConfigurationError(
        f"{account[:80]!r} is not an account of a budget: give one as the list shows it, such as user:u-42@day, or"
        " --user u-42 --per day"
    )


def _write_limits(books: Database, key: str, limits: Mapping[Any, Decimal | None]) -> None:
    from assistantguard.ledger import SqlLedger

    ledger = SqlLedger(books)
    with books.transaction():
        for metric, amount in limits.items():
            ledger.set_limit(key, metric, amount)


def _known(books: Database, key: str) -> bool:
    from assistantguard.ledger.accounts import account_rows

    return bool(account_rows(books, prefix=key, limit=1))


def _for_people(row: Mapping[str, Any]) -> dict[str, Any]:
    amounts = {key: _amount(row["metric"], row[key]) for key in ("committed", "held", "limit", "override", "left")}
    return {**row, **amounts}


def _amount(metric: str, amount: Decimal | None) -> str:
    if amount is None:
        return "-"
    return dollars(amount) if metric == "cost" else number(int(amount))
