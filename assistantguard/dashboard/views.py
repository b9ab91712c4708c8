"""What each page shows, by what its address asks for, and what each form does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from assistantguard._wanted import check_thread, check_user
from assistantguard.dashboard.changes import METRICS, Changes, every_window, user_account
from assistantguard.dashboard.figures import PAGE, PERIODS, Figures
from assistantguard.dashboard.pages import overview_charts, overview_figures
from assistantguard.dashboard.refusals import RefusalFile
from assistantguard.errors import ConfigurationError
from assistantguard.models.names import LONGEST_NAME
from assistantguard.storage import ThreadFilter, ThreadInfo

__all__ = ["VIEWS", "Action", "Parameters", "Views"]

Parameters = Mapping[str, str]
Action = Callable[[Changes, Parameters], str]
"""Makes a change and returns what was done, in a word."""

_PERIOD = "30"
_ARCHIVED: Mapping[str, bool | None] = {"in use": False, "archived": True, "all": None}
_WINDOWS = ("hour", "day", "week", "month", "ever")
_OTHERS = ("application", "tenant", "account")
_FEW = 10
"""Refusals on the first page."""
_MOST_ACCOUNTS = 500


class Views:
    """Asks for the figures of each page.

    Args:
        figures: Has them.
        refusals: Has the last refusals, where a file of events is known.
    """

    def __init__(self, figures: Figures, refusals: RefusalFile | None) -> None:
        self._figures = figures
        self._refusals = refusals
        self.actions: Mapping[tuple[str, str], Action] = {
            ("account", "set"): _set_limit,
            ("account", "clear"): _clear_limit,
            ("thread", "rename"): _rename,
            ("thread", "archive"): _archive,
            ("thread", "restore"): _restore,
        }
        """What forms do, by the page that has them and the action."""

    def overview(self, parameters: Parameters) -> dict[str, Any]:
        """What was spent, by day, model and user, and what goes on now."""
        period = _period(parameters)
        found = self._figures.overview(PERIODS[period])
        return {
            **_periods(period),
            "overview": found,
            "figures": overview_figures(found),
            "charts": overview_charts(found),
            "runs": found.runs,
            **self._last_refusals(_FEW),
        }

    def users(self, parameters: Parameters) -> dict[str, Any]:
        """Users, their spending and what is left of their budgets."""
        period, page, search = _period(parameters), _page(parameters), _search(parameters)
        rows, more = self._figures.users(search, PERIODS[period], page)
        return {**_periods(period), "search": search, "page": page, "rows": rows, "more": more}

    def user(self, parameters: Parameters) -> dict[str, Any]:
        """One user, or the application itself."""
        period, name = _period(parameters), check_user(parameters.get("user"))
        return {**_periods(period), "user": self._figures.user(name, PERIODS[period]), "windows": _WINDOWS}

    def budgets(self, _: Parameters) -> dict[str, Any]:
        """Budgets that are not a user's."""
        rows = self._figures.budgets(_OTHERS)
        return {"rows": rows[:_MOST_ACCOUNTS], "more": max(0, len(rows) - _MOST_ACCOUNTS)}

    def account(self, parameters: Parameters) -> dict[str, Any]:
        """One account, and the limits that are set for it.

        Raises:
            ConfigurationError: It is none of a budget's.
        """
        if "user" in parameters and "account" not in parameters:
            account = user_account(parameters["user"], parameters.get("per", "day"))
        else:
            account = every_window(parameters.get("account", ""))
        return {"account": account, "rows": self._figures.account(account), "metrics": METRICS}

    def threads(self, parameters: Parameters) -> dict[str, Any]:
        """Threads whose name or tag contains what is searched."""
        search, user = _search(parameters), check_user(parameters.get("user"))
        which = parameters.get("which", "in use")
        archived = _ARCHIVED.get(which, False)
        wanted = ThreadFilter(
            user, user is None, archived=archived, text=search or None, after=_after(parameters), limit=PAGE + 1
        )
        found = self._figures.threads(wanted)
        shown = found[:PAGE]
        return {
            "search": search,
            "whose": user,
            "which": which if which in _ARCHIVED else "in use",
            "choices": tuple(_ARCHIVED),
            "rows": shown,
            "after": _place(shown[-1]) if len(found) > PAGE else None,
        }

    def thread(self, parameters: Parameters) -> dict[str, Any]:
        """One thread and its runs.

        Raises:
            ThreadNotFound: There is none.
        """
        found = self._figures.thread(*_thread(parameters))
        return {"thread": found.info, "runs": found.runs}

    def runs(self, _: Parameters) -> dict[str, Any]:
        """Runs in flight."""
        count, rows = self._figures.runs()
        return {"count": count, "runs": rows}

    def refusals(self, _: Parameters) -> dict[str, Any]:
        """The last refusals."""
        return self._last_refusals(None)

    def _last_refusals(self, most: int | None) -> dict[str, Any]:
        if self._refusals is None:
            return {"refusals": (), "events": None, "events_there": False}
        path = self._refusals.path
        return {"refusals": self._refusals.newest()[:most], "events": str(path), "events_there": path.exists()}


VIEWS: Mapping[str, Callable[[Views, Parameters], dict[str, Any]]] = {
    "overview": Views.overview,
    "users": Views.users,
    "user": Views.user,
    "budgets": Views.budgets,
    "account": Views.account,
    "threads": Views.threads,
    "thread": Views.thread,
    "runs": Views.runs,
    "refusals": Views.refusals,
}
"""The pages, by name."""


def _set_limit(changes: Changes, fields: Parameters) -> str:
    changes.set_limit(fields.get("account", ""), fields.get("metric", ""), fields.get("amount", ""))
    return "limit-set"


def _clear_limit(changes: Changes, fields: Parameters) -> str:
    changes.clear_limit(fields.get("account", ""), fields.get("metric", ""))
    return "limit-cleared"


def _rename(changes: Changes, fields: Parameters) -> str:
    changes.rename(*_thread(fields), fields.get("name", ""))
    return "renamed"


def _archive(changes: Changes, fields: Parameters) -> str:
    changes.archive(*_thread(fields))
    return "archived"


def _restore(changes: Changes, fields: Parameters) -> str:
    changes.restore(*_thread(fields))
    return "restored"


def _thread(parameters: Parameters) -> tuple[str, str | None]:
    """Which thread is meant, and whose it must be."""
    return check_thread(parameters.get("id", "")), check_user(parameters.get("user"))


def _period(parameters: Parameters) -> str:
    given = parameters.get("days", _PERIOD)
    return given if given in PERIODS else _PERIOD


def _periods(period: str) -> dict[str, Any]:
    return {"period": period, "periods": tuple(PERIODS)}


def _page(parameters: Parameters) -> int:
    given = parameters.get("page", "0")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 6 else 0


def _search(parameters: Parameters) -> str:
    given = parameters.get("search", "")[:LONGEST_NAME]
    return "".join(character for character in given if character.isprintable())


def _place(info: ThreadInfo) -> str:
    """Where a page of threads ends, so that the next one can begin there."""
    return f"{info.last_used_at!r} {info.id}"


def _after(parameters: Parameters) -> tuple[float, str] | None:
    given = parameters.get("after")
    if given is None:
        return None
    time, _, thread_id = given.partition(" ")
    try:
        return float(time), thread_id
    except ValueError:
        raise ConfigurationError("this address of a page of threads is cut: begin with the first page") from None
