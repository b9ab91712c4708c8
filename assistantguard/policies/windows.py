"""The stretches of time that a budget is for: calendar windows in a time zone, fixed lengths, or all of time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Any, Literal, get_args

from assistantguard.errors import ConfigurationError
from assistantguard.models.values import Value

__all__ = ["CalendarUnit", "Window", "Windows", "moment_text", "time_zone"]

CalendarUnit = Literal["hour", "day", "week", "month"]

_HOUR = 3_600
_LONGEST = timedelta(days=36_525)
_UNITS = (("d", 86_400), ("h", _HOUR), ("m", 60), ("s", 1))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Window(Value):
    """One stretch of time, its end excluded."""

    name: str
    """Tells it from all others of the same `Windows`; empty for all of time."""
    starts_at: float
    """Unix time, seconds."""
    ends_at: float | None
    """Unix time, seconds; None for all of time."""


class Windows:
    """Says which window a moment lies in. Windows follow one another without a gap.

    A day, week (from Monday) or month of the calendar lasts from midnight to midnight in its zone, however many hours
    that are. An hour is one between two full hours of its zone's clock; one that the clock shows twice is two windows.
    A fixed length is counted from 1970-01-01T00:00Z.

    Args:
        name: What they are for, in errors.
        per: The unit, a fixed length of whole seconds, up to 100 years, or None for one window of all of time.
        timezone: An IANA name such as ``"Europe/Berlin"``.

    Raises:
        ConfigurationError: A value is none of these.
    """

    def __init__(self, name: str, per: CalendarUnit | timedelta | None, timezone: str) -> None:
        self.timezone = timezone
        self._zone = time_zone(f"{name} timezone", timezone)
        self._length = 0
        if per is None:
            self.label = "ever"
        elif isinstance(per, timedelta):
            if not timedelta(0) < per <= _LONGEST or per.microseconds:
                raise ConfigurationError(
                    f"{name} per is {per!r}, it must be whole seconds, and at most {_LONGEST.days:,} days: change it,"
                    " or give None for a budget that never renews"
                )
            self._length = per // timedelta(seconds=1)
            self.label = _length_text(self._length)
        elif per in get_args(CalendarUnit):
            self.label = per
        else:
            raise ConfigurationError(
                f"{name} per is {per!r}: give 'hour', 'day', 'week', 'month', a timedelta, or None for a budget that"
                " never renews"
            )
        self.calendar = self.label in get_args(CalendarUnit)
        """Whether the zone decides where windows begin."""

    def at(self, now: float) -> Window:
        """The window that a moment (Unix time, seconds) lies in."""
        if self._length:
            return self._fixed(now)
        if not self.calendar:
            return _ALWAYS
        if self.label == "hour":
            return self._hour(now)
        return self._days(now, *_DAYS[self.label])

    def _fixed(self, now: float) -> Window:
        start = math.floor(now) // self._length * self._length
        begins = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=start)
        return Window(f"{begins:%Y-%m-%dT%H:%M:%S}Z", float(start), float(start + self._length))

    def _hour(self, now: float) -> Window:
        whole = math.floor(now)
        offset = datetime.fromtimestamp(now, self._zone).utcoffset()
        assert offset is not None
        start = whole - (whole + int(offset.total_seconds())) % _HOUR
        return Window(
            f"{datetime.fromtimestamp(start, self._zone):%Y-%m-%dT%H:%M%z}", float(start), float(start + _HOUR)
        )

    def _days(self, now: float, first: Callable[[date], date], after: Callable[[date], date], form: str) -> Window:
        day = first(datetime.fromtimestamp(now, self._zone).date())
        start, end = self._midnight(day), self._midnight(after(day))
        while now >= end:  # a clock that is put back over midnight shows yesterday's date once more
            day = after(day)
            start, end = end, self._midnight(after(day))
        return Window(day.strftime(form), start, end)

    def _midnight(self, day: date) -> float:
        """When a day begins: at the first midnight of two, and where there is none, when the clock leaps over it."""
        return datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp()


_ALWAYS = Window("", 0.0, None)
_DAYS: dict[str, tuple[Callable[[date], date], Callable[[date], date], str]] = {
    "day": (lambda day: day, lambda day: day + timedelta(1), "%Y-%m-%d"),
    "week": (lambda day: day - timedelta(day.weekday()), lambda day: day + timedelta(7), "%G-W%V"),
    "month": (lambda day: day.replace(day=1), lambda day: (day + timedelta(31)).replace(day=1), "%Y-%m"),
}
"""The first day of a window, that of the one after it, and its name."""


def _length_text(seconds: int) -> str:
    unit, size = next((unit, size) for unit, size in _UNITS if not seconds % size)
    return f"{seconds // size}{unit}"


def time_zone(name: str, value: Any) -> tzinfo:
    """The time zone of that IANA name.

    Args:
        name: What it is for, in the error.
        value: Its name.

    Raises:
        ConfigurationError: There is none; the message says which have a name near it.
    """
    if value == "UTC":
        return timezone.utc
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} is {value!r}: give an IANA name such as 'Europe/Berlin', or 'UTC'")
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(value)
    except (LookupError, OSError, ValueError) as error:
        raise ConfigurationError(f"{name} is {value[:80]!r}: {_near(value, zoneinfo.available_timezones())}") from error


def _near(value: str, known: set[str]) -> str:
    if not known:
        return "this machine has no time zones; `pip install tzdata`, or give 'UTC'"
    import difflib

    lower = {zone.lower(): zone for zone in known} | {zone.lower().rpartition("/")[2]: zone for zone in known}
    near = difflib.get_close_matches(value[:80].strip().lower().replace(" ", "_"), lower, n=3)
    names = dict.fromkeys(lower[each] for each in near)
    if not names:
        return "no time zone has such a name: give an IANA name such as 'Europe/Berlin', or 'UTC'"
    return f"no time zone has that name; did you mean {' or '.join(map(repr, names))}?"


def moment_text(moment: float, zone: str) -> str:
    """A moment (Unix time, seconds) for people: ``2026-11-23 00:00 CET (Europe/Berlin)``."""
    local = datetime.fromtimestamp(moment, time_zone("timezone", zone))
    seconds = "" if not local.second else f":{local:%S}"
    return f"{local:%Y-%m-%d %H:%M}{seconds} {local:%Z}" + ("" if zone == "UTC" else f" ({zone})")
