from __future__ import annotations

import json
from typing import Any

import pytest
from tenacity import wait_none

from assistantguard import Assistant, AssistantGuard, BatchUnfinished, Budget, RequestRejected, TransientRetry
from assistantguard.batches import BatchResult, parts
from tests.batches.api import INPUT, OUTPUT, Api, Lost

TEXTS = ["one", "two", "three"]


def guard(api: Api, **options: Any) -> AssistantGuard:
    policies = [Budget("application", tokens=1_000_000), TransientRetry(3, wait=wait_none())]
    options.setdefault("sinks", [])
    return AssistantGuard(api.client(), Assistant("gpt-4.1-mini"), policies=policies, **options)


def batch(bot: AssistantGuard, **options: Any) -> BatchResult:
    return bot.batch(TEXTS, **{"poll": 0.001, **options})


def only(text: str, end: dict[str, Any]) -> Any:
    """An end of the job that asks this; the others are answered."""
    return lambda body: end if body["input"][-1]["content"] == text else None


def lose(api: Api, request: str, moment: str) -> None:
    """Lose the connection of the first request of a kind, before or after it is worked on."""
    left = [1]

    def hook(now: str, name: str) -> None:
        if (now, name) == (moment, request) and left[0]:
            left[0] -= 1
            raise Lost

    api.hook = hook


def error_line(code: str | None, message: str, status: int = 400) -> dict[str, Any]:
    body = {"error": {"code": code, "message": message, "type": "invalid_request_error"}}
    return {"response": {"status_code": status, "request_id": "req_1", "body": body}, "error": None}


@pytest.mark.parametrize("request_lost", ["POST /files", "POST /batches"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_may_have_been_made_is_looked_for_before_it_is_made_again(request_lost: str, moment: str) -> None:
    api = Api()
    lose(api, request_lost, moment)
    bot = guard(api)
    result = batch(bot)
    assert result.counts == {"completed": 3}
    assert len(api.batches) == 1
    assert sum(file["filename"].startswith("assistantguard-") for file in api.files.values()) == 1
    assert set(api.done.values()) == {1}


def test_a_server_that_cannot_be_reached_leaves_the_batch_to_be_taken_up() -> None:
    api = Api()

    def hook(now: str, name: str) -> None:
        if now == "after" and name.endswith("/batches"):
            raise Lost

    api.hook = hook
    bot = guard(api)
    with pytest.raises(BatchUnfinished, match="ask for the same jobs again when it can be reached"):
        batch(bot)
    assert len(bot.ledger.open_holds()) == 3
    api.hook = lambda _now, _name: None
    assert batch(bot).counts == {"completed": 3}
    assert set(api.done.values()) == {1}
    assert not bot.ledger.open_holds()


def test_a_line_that_failed_costs_nothing_and_names_the_reason() -> None:
    api = Api()
    api.answer = only("two", error_line("invalid_prompt", "bad prompt"))
    bot = guard(api)
    result = batch(bot)
    failed = result.results[1]
    assert failed.status == "failed"
    assert failed.cost == failed.usage.total_tokens == 0
    assert failed.error is not None
    assert (failed.error.code, failed.error.message, failed.error.retryable) == ("invalid_prompt", "bad prompt", False)
    assert bot.budget().committed == 2 * (INPUT + OUTPUT)
    assert not result.retryable


@pytest.mark.parametrize("end", [{}, {"response": {"status_code": 200, "body": {}}, "error": None}])
def test_a_job_of_which_the_server_says_nothing_is_booked_as_an_estimate(end: Any) -> None:
    api = Api()
    api.answer = only("two", end)
    bot = guard(api)
    result = batch(bot)
    lost = result.results[1]
    assert lost.error is not None
    assert (lost.status, lost.error.code) == ("failed", "outcome_unknown")
    assert lost.usage.estimated
    assert bot.budget().committed == result.usage.total_tokens
    assert not bot.ledger.open_holds()


def test_an_answer_without_usage_is_booked_as_an_estimate() -> None:
    api = Api()
    said = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hm."}]}]
    body = {"id": "resp_9", "status": "completed", "model": "gpt-4.1-mini", "output": said}
    api.answer = only("two", {"response": {"status_code": 200, "body": body}, "error": None})
    result = batch(guard(api))
    assert result.results[1].text == "Hm."
    assert result.results[1].usage.estimated
    assert result.results[1].cost


def test_an_answer_that_was_cut_is_kept_and_billed_and_not_complete() -> None:
    api = Api()
    body = {"id": "resp_9", "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    whole = {**body, "model": "gpt-4.1-mini", "output": [], "usage": {"input_tokens": 7, "output_tokens": 16}}
    api.answer = only("two", {"response": {"status_code": 200, "body": whole}, "error": None})
    cut = batch(guard(api)).results[1]
    assert cut.error is not None
    assert (cut.status, cut.usage.total_tokens, cut.error.code, cut.error.retryable) == (
        "failed",
        23,
        "incomplete",
        False,
    )


def test_a_batch_that_the_server_refuses_costs_nothing_and_may_be_retried() -> None:
    api = Api()
    api.end = "failed"
    bot = guard(api)
    result = batch(bot)
    assert {each.error.code for each in result.results if each.error} == {"invalid_file"}
    assert result.cost == bot.budget().committed == 0
    assert not bot.ledger.open_holds()
    assert len(result.retryable) == 3


def test_a_wrong_key_is_raised_and_the_jobs_wait() -> None:
    api = Api()
    api.refusal = 401
    bot = guard(api)
    with pytest.raises(RequestRejected, match="wrong key"):
        batch(bot)
    assert not bot.ledger.open_holds()
    api.refusal = None
    assert batch(bot).counts == {"completed": 3}


def test_files_have_one_model_each_and_no_more_than_the_limits_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.Parts.__init__, "__defaults__", (2, 1_000))
    api = Api()
    bot = guard(api)
    result = bot.batch([*TEXTS, "x" * 400, "y" * 100, "z"], poll=0.001)
    assert result.counts == {"completed": 6}
    sent = [each for each in api.files.values() if each["filename"].startswith("assistantguard-")]
    sizes = [len(each["content"]) for each in sent]
    lines = [len(each["content"].splitlines()) for each in sent]
    assert sum(lines) == 6
    assert max(lines) == 2
    assert all(size <= 1_000 for size in sizes)
    assert set(api.done.values()) == {1}
    for each in sent:
        assert len({json.loads(line)["body"]["model"] for line in each["content"].splitlines()}) == 1


def test_a_response_that_may_have_been_begun_is_not_begun_again() -> None:
    api = Api()
    lose(api, "POST /responses", "after")
    bot = guard(api)
    result = batch(bot, through="2h")
    assert result.results[0].error is not None
    assert result.results[0].error.code == "outcome_unknown"
    assert result.results[0].usage.estimated
    assert max(api.begun.values()) == 1
    assert [each.text for each in result.results[1:]] == ["re: two", "re: three"]


def test_windows_that_had_not_begun_are_cancelled_at_no_cost() -> None:
    api = Api(looks=99)
    bot = guard(api)
    with pytest.raises(BatchUnfinished):
        batch(bot, through="8h", timeout=0.0001)
    assert len(bot.ledger.open_holds()) == 3
    result = batch(bot, through="8h", cancel=True)
    assert result.counts == {"cancelled": 3}
    assert result.cost == 0
    assert not bot.ledger.open_holds()


def test_one_batch_is_driven_by_one_process_at_a_time() -> None:
    api = Api(looks=1)
    bot = guard(api)
    met: list[BaseException] = []

    def intrude(_progress: object) -> None:
        with pytest.raises(BatchUnfinished, match="is driven by another process") as caught:
            batch(bot)
        met.append(caught.value)

    assert batch(bot, on_progress=intrude).counts == {"completed": 3}
    assert met
    assert len(api.batches) == 1
