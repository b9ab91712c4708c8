"""The kill tests and the crowd, small: they run, they find nothing wrong, and they would find it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.crowd import measure
from benchmarks.kill import MUST_BE_ZERO, DropInKillTest, KillTest


@pytest.mark.timeout(240)
@pytest.mark.parametrize("completes", [False, True], ids=["stopped", "completed"])
def test_killed_workers_lose_and_double_nothing(tmp_path: Path, *, completes: bool) -> None:
    test = KillTest(f"sqlite:///{tmp_path / 'guard.db'}", None, 4, 11 + completes, completes=completes)
    figures = test.run()
    assert figures["kills"] == 4
    assert figures["turns"] >= 24
    assert {name: figures[name] for name in MUST_BE_ZERO} == dict.fromkeys(MUST_BE_ZERO, 0), figures["details"]
    assert figures["tokens_billed"] <= figures["tokens_booked"]
    assert figures["tokens_booked"] - figures["tokens_billed"] <= figures["tokens_estimated"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("completes", [False, True], ids=["stopped", "completed"])
def test_killed_workers_leave_their_runs_to_the_processes_that_poll_them(tmp_path: Path, *, completes: bool) -> None:
    url = f"sqlite:///{tmp_path / 'guard.db'}"
    figures = DropInKillTest(url, None, 4, 17 + completes, completes=completes, lease_seconds=4.0).run()
    assert figures["kills"] == 4
    assert figures["turns"] >= 24
    assert figures["runs_handed_over"] > 0
    assert {name: figures[name] for name in MUST_BE_ZERO} == dict.fromkeys(MUST_BE_ZERO, 0), figures["details"]
    assert figures["tokens_billed"] <= figures["tokens_booked"]
    assert figures["tokens_booked"] - figures["tokens_billed"] <= figures["tokens_estimated"]


@pytest.mark.timeout(240)
def test_a_crowd_stays_in_its_budgets_and_out_of_others_threads(tmp_path: Path) -> None:
    figures = measure(f"sqlite:///{tmp_path / 'guard.db'}", users=4, turns=160, processes=2, seed=5)
    assert figures["turns"] == 160
    assert figures["probes"] > 0
    assert (figures["leaks"], figures["errors"], figures["tokens_over_budget"]) == (0, 0, 0), figures["details"]
    assert figures["tokens_billed"] == figures["tokens_booked"] > 0
    assert (figures["users_booked_wrong"], figures["holds_open"]) == (0, 0)
