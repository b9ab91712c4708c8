"""Runs of a drop-in client keep to a pace, and one that cannot be sent in time says when there is room."""

from __future__ import annotations

import pytest

from assistantguard import Pacing, TooManyRequests
from assistantguard.events.traffic import PacingRefused
from tests.dropin.conftest import MakeApplication


def test_runs_of_all_assistants_share_a_pace(app: MakeApplication) -> None:
    application = app(["One"] * 3, policies=[Pacing(2, burst=1, max_wait=0)])
    runs = [application.run(application.thread("Hi"), application.assistant(instructions=str(n))) for n in range(3)]

    assert [run.status for run in runs] == ["completed", "completed", "failed"]
    refused = runs[2].last_error
    assert refused.code == "rate_limit_exceeded"
    assert "ask again in" in refused.message
    assert len(application.requests()) == 2
    (told,) = [event for event in application.events if isinstance(event, PacingRefused)]
    assert (told.run_id, told.lane) == (runs[2].id, "model:gpt-6-luna")


def test_a_run_that_finds_no_room_may_raise(app: MakeApplication) -> None:
    application = app(["One"] * 2, policies=[Pacing(1, burst=1, max_wait=0)], on_refusal="raise")
    assistant = application.assistant()
    application.run(application.thread("Hi"), assistant)
    with pytest.raises(TooManyRequests, match="ask again in"):
        application.run(application.thread("Hi"), assistant)
