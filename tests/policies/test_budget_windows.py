"""Windows of budgets: exact at their boundaries, whatever daylight saving does."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistantguard import Budget, ConfigurationError
from assistantguard.policies.windows import CalendarUnit, Windows, moment_text

BERLIN, ST_JOHNS = "Europe/Berlin", "America/St_Johns"
NINETY, SEVEN = timedelta(minutes=90), timedelta(days=7)


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("per", "zone", "now", "name", "starts", "ends"),
    [
        ("day", "UTC", "2026-11-22 13:00", "2026-11-22", "2026-11-22 00:00", "2026-11-23 00:00"),
        ("day", BERLIN, "2026-11-22 23:30", "2026-11-23", "2026-11-22 23:00", "2026-11-23 23:00"),
        ("day", BERLIN, "2026-03-29 12:00", "2026-03-29", "2026-03-28 23:00", "2026-03-29 22:00"),  # of 23 hours
        ("day", BERLIN, "2026-10-25 12:00", "2026-10-25", "2026-10-24 22:00", "2026-10-25 23:00"),  # of 25 hours
        ("day", "Asia/Kathmandu", "2026-11-22 18:20", "2026-11-23", "2026-11-22 18:15", "2026-11-23 18:15"),
        # Midnight is leapt over, and comes twice.
        ("day", "Asia/Beirut", "2022-03-27 05:00", "2022-03-27", "2022-03-26 22:00", "2022-03-27 21:00"),
        ("day", "America/Havana", "2026-11-01 04:30", "2026-11-01", "2026-11-01 04:00", "2026-11-02 05:00"),
        ("day", "America/Havana", "2026-11-01 05:30", "2026-11-01", "2026-11-01 04:00", "2026-11-02 05:00"),
        # At one minute past midnight the clock goes back to yesterday.
        ("day", ST_JOHNS, "2010-11-07 02:30", "2010-11-07", "2010-11-07 02:30", "2010-11-08 03:30"),
        ("day", ST_JOHNS, "2010-11-07 02:45", "2010-11-07", "2010-11-07 02:30", "2010-11-08 03:30"),
        # The 30th did not take place.
        ("day", "Pacific/Apia", "2011-12-30 09:59", "2011-12-29", "2011-12-29 10:00", "2011-12-30 10:00"),
        ("day", "Pacific/Apia", "2011-12-30 10:00", "2011-12-31", "2011-12-30 10:00", "2011-12-31 10:00"),
        ("hour", "UTC", "2026-11-22 13:59:59", "2026-11-22T13:00+0000", "2026-11-22 13:00", "2026-11-22 14:00"),
        ("hour", "Asia/Kathmandu", "2026-11-22 13:16", "2026-11-22T19:00+0545", "2026-11-22 13:15", "2026-11-22 14:15"),
        ("hour", BERLIN, "2026-10-25 00:30", "2026-10-25T02:00+0200", "2026-10-25 00:00", "2026-10-25 01:00"),
        ("hour", BERLIN, "2026-10-25 01:30", "2026-10-25T02:00+0100", "2026-10-25 01:00", "2026-10-25 02:00"),
        ("hour", ST_JOHNS, "2010-11-07 02:30", "2010-11-07T00:00-0230", "2010-11-07 02:30", "2010-11-07 03:30"),
        ("hour", ST_JOHNS, "2010-11-07 02:45", "2010-11-07T00:00-0230", "2010-11-07 02:30", "2010-11-07 03:30"),
        ("week", "UTC", "2026-11-22 13:00", "2026-W47", "2026-11-16 00:00", "2026-11-23 00:00"),
        ("week", BERLIN, "2027-01-01 12:00", "2026-W53", "2026-12-27 23:00", "2027-01-03 23:00"),
        ("week", BERLIN, "2026-03-24 12:00", "2026-W13", "2026-03-22 23:00", "2026-03-29 22:00"),
        ("month", BERLIN, "2026-03-15 12:00", "2026-03", "2026-02-28 23:00", "2026-03-31 22:00"),
        ("month", "UTC", "2028-02-29 12:00", "2028-02", "2028-02-01 00:00", "2028-03-01 00:00"),
        ("month", "UTC", "2026-12-31 23:59:59", "2026-12", "2026-12-01 00:00", "2027-01-01 00:00"),
        (NINETY, BERLIN, "1970-01-01 01:31", "1970-01-01T01:30:00Z", "1970-01-01 01:30", "1970-01-01 03:00"),
        (SEVEN, "UTC", "1970-01-07 23:59:59", "1970-01-01T00:00:00Z", "1970-01-01 00:00", "1970-01-08 00:00"),
    ],
)  # fmt: skip
def test_a_moment_lies_in_its_window(per: Any, zone: str, now: str, name: str, starts: str, ends: str) -> None:
    window = Windows("Budget", per, zone).at(utc(now))
    assert (window.name, window.starts_at, window.ends_at) == (name, utc(starts), utc(ends))


def test_what_never_renews_is_one_window() -> None:
    windows = Windows("Budget", None, BERLIN)
    assert windows.at(0.0) == windows.at(4e9)
    assert windows.at(0.0).ends_at is None


# No time zone here changes its clock by half an hour: there, two windows of an hour share half of it.
ZONES = st.sampled_from([
    "UTC", BERLIN, "America/New_York", "America/Havana", ST_JOHNS, "America/Sao_Paulo", "Asia/Kathmandu",
    "Asia/Beirut", "Africa/Cairo", "Pacific/Apia", "Asia/Tehran",
])  # fmt: skip
UNITS: st.SearchStrategy[CalendarUnit | timedelta] = st.one_of(
    st.sampled_from(get_args(CalendarUnit)),
    st.integers(1, 400 * 86_400).map(lambda seconds: timedelta(seconds=seconds)),
)
MOMENTS = st.one_of(st.integers(0, 4_000_000_000).map(float), st.floats(0, 4e9))


@given(per=UNITS, zone=ZONES, now=MOMENTS)
def test_windows_follow_one_another_without_a_gap(per: CalendarUnit | timedelta, zone: str, now: float) -> None:
    windows = Windows("Budget", per, zone)
    window = windows.at(now)
    assert window.ends_at is not None
    assert window.starts_at <= now < window.ends_at
    assert windows.at(window.starts_at) == window
    assert windows.at(window.ends_at - 0.001) == window
    after = windows.at(window.ends_at)
    assert after.starts_at == window.ends_at
    assert after.name != window.name


@given(zone=ZONES, now=MOMENTS)
def test_a_day_is_the_date_on_the_wall(zone: str, now: float) -> None:
    """But for a clock that goes back over midnight: that date has begun and does not end."""
    window = Windows("Budget", "day", zone).at(now)
    date = datetime.fromtimestamp(now, ZoneInfo(zone)).date()
    assert window.name == date.isoformat() or window.name == (date + timedelta(1)).isoformat()
    if zone != ST_JOHNS:
        assert window.name == date.isoformat()


@given(seconds=st.integers(1, 400 * 86_400), number=st.integers(0, 100))
def test_a_fixed_length_begins_at_its_multiples(seconds: int, number: int) -> None:
    window = Windows("Budget", timedelta(seconds=seconds), BERLIN).at(number * seconds)
    assert (window.starts_at, window.ends_at) == (number * seconds, (number + 1) * seconds)


def test_a_moment_is_told_in_its_zone() -> None:
    midnight = utc("2026-11-22 23:00")
    assert moment_text(midnight, BERLIN) == "2026-11-23 00:00 CET (Europe/Berlin)"
    assert moment_text(midnight, "UTC") == "2026-11-22 23:00 UTC"
    assert moment_text(midnight + 1, "UTC") == "2026-11-22 23:00:01 UTC"


@pytest.mark.parametrize(
    ("zone", "near"),
    [
        ("Europe/Berln", "did you mean .*'Europe/Berlin'"),
        ("europe/berlin", "did you mean .*'Europe/Berlin'"),
        ("Berlin", "did you mean .*'Europe/Berlin'"),
        ("New York", "did you mean 'America/New_York'"),
        ("", "such as 'Europe/Berlin'"),
        ("Europe", "'Europe/"),
        ("../../etc/passwd", "such as 'Europe/Berlin'"),
        ("\x00", "such as 'Europe/Berlin'"),
        ("x" * 10_000, "such as 'Europe/Berlin'"),
        (None, "such as 'Europe/Berlin'"),
        (2, "such as 'Europe/Berlin'"),
    ],
)
def test_an_unknown_time_zone_is_refused_with_those_near_it(zone: Any, near: str) -> None:
    with pytest.raises(ConfigurationError, match=near) as caught:
        Budget(tokens=1_000, timezone=zone)
    assert "Budget timezone is" in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "per", ["", "Day", "year", 0, 60, True, ["day"], timedelta(0), timedelta(seconds=-1), timedelta(milliseconds=999),
            timedelta(seconds=1.5), timedelta.max]
)  # fmt: skip
def test_a_window_that_is_none_is_refused(per: Any) -> None:
    with pytest.raises(ConfigurationError, match="Budget per is"):
        Budget(tokens=1_000, per=per)
