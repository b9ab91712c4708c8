"""Runs of a drop-in client go to the model that the rules choose, unless the application names another one."""

from __future__ import annotations

from assistantguard import MatchingMessages, ModelRouting, Otherwise, Route
from assistantguard.events import RunStarted
from assistantguard.events.traffic import RunRouted
from tests.dropin.conftest import MakeApplication


def test_runs_are_routed_unless_they_name_a_model(app: MakeApplication) -> None:
    rules = ModelRouting([MatchingMessages("why", "gpt-6-sol"), Otherwise(Route("gpt-5-nano", force=True))])
    application = app(policies=[rules])
    assistant = application.assistant(model="gpt-6-luna")
    thread_id = application.thread()

    for text, params in (("Where?", {}), ("But why?", {}), ("And why?", {"model": "gpt-5-mini"}), ("I see.", {})):
        application.say(thread_id, text)
        assert application.run(thread_id, assistant, **params).status == "completed"

    sent = [body["model"] for body in application.requests()]
    assert sent == ["gpt-5-nano", "gpt-6-sol", "gpt-5-mini", "gpt-5-nano"]
    assert [event.model for event in application.events if isinstance(event, RunStarted)] == sent
    routed = [event for event in application.events if isinstance(event, RunRouted)]
    assert [event.model for event in routed] == ["gpt-5-nano", "gpt-6-sol", "gpt-5-nano"]
