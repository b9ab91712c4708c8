from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox import Fault, RateLimiting, RateLimits, Sandbox
from assistantguard.sandbox.rate_limits import go_duration

MODEL = "gpt-6-luna"
SHORT: dict[str, Any] = {"model": MODEL, "input": "Hi"}
SHORT_TOKENS = 8
"""What `SHORT` reads."""


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock stands still: only `Sandbox.advance` moves the sandbox's."""
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)


def _headers(sandbox: Sandbox, **asked: Any) -> Mapping[str, str]:
    with sandbox.client(max_retries=0) as client:
        headers: Mapping[str, str] = client.responses.with_raw_response.create(**{**SHORT, **asked}).headers
        return headers


def test_one_request_too_many_is_refused_in_the_apis_words_until_the_time_it_names(call: Any) -> None:
    with Sandbox(limits=RateLimits(requests_per_minute=3)) as sandbox:
        for _ in range(3):
            call(sandbox, "responses.create", **SHORT)
        with pytest.raises(openai.RateLimitError) as caught:
            call(sandbox, "responses.create", **SHORT)

        error = caught.value
        assert (error.code, error.type) == ("rate_limit_exceeded", "requests")
        assert (
            "Rate limit reached for gpt-6-luna in organization org-sandbox on requests per min (RPM): "
            "Limit 3, Used 3, Requested 1. Please try again in 20s. Visit "
        ) in error.message
        assert (error.response.headers["retry-after"], error.response.headers["retry-after-ms"]) == ("20", "20000")
        assert error.response.headers["x-ratelimit-remaining-requests"] == "0"
        assert error.response.headers["x-ratelimit-reset-requests"] == "1m0s"

        sandbox.advance(20)
        assert call(sandbox, "responses.create", **SHORT).status == "completed"
        assert sandbox.rate_limits.refused == {"requests": 1}
        assert sandbox.billing.requests == 4


def test_input_and_largest_output_are_held_against_the_tokens_of_a_minute(call: Any) -> None:
    with Sandbox(limits=RateLimits(tokens_per_minute=1000)) as sandbox:
        call(sandbox, "responses.create", max_output_tokens=800, **SHORT)
        with pytest.raises(openai.RateLimitError) as caught:
            call(sandbox, "responses.create", max_output_tokens=200, **SHORT)

        error = caught.value
        assert (error.code, error.type) == ("rate_limit_exceeded", "tokens")
        assert (
            "on tokens per min (TPM): Limit 1000, Used 808, Requested 208. Please try again in 960ms." in error.message
        )
        assert (error.response.headers["retry-after"], error.response.headers["retry-after-ms"]) == ("1", "960")
        sandbox.advance(0.96)
        call(sandbox, "responses.create", max_output_tokens=200, **SHORT)
        assert [one.tokens for one in sandbox.rate_limits.admitted] == [808, 208]
        assert sandbox.rate_limits.most_in(60) == (2, 1016)
        assert sandbox.rate_limits.most_in(0.5) == (1, 808)


def test_a_request_larger_than_the_limit_is_refused_without_a_time_to_try_again(call: Any) -> None:
    with Sandbox(limits=RateLimits(tokens_per_minute=1000)) as sandbox:
        with pytest.raises(openai.RateLimitError) as caught:
            call(sandbox, "responses.create", max_output_tokens=1000, **SHORT)

        error = caught.value
        assert (error.code, error.type) == ("rate_limit_exceeded", "tokens")
        assert "Request too large for gpt-6-luna in organization org-sandbox on tokens per min (TPM): " in error.message
        assert "Limit 1000, Requested 1008. The input or output tokens must be reduced" in error.message
        assert not {"retry-after", "retry-after-ms"} & error.response.headers.keys()
        assert error.response.headers["x-ratelimit-remaining-tokens"] == "1000"
        assert sandbox.rate_limits.refused == {"too_large": 1}


def test_every_answer_of_a_model_tells_what_is_left_and_no_other_does() -> None:
    limits = RateLimits(requests_per_minute=600, tokens_per_minute=60_000)
    with Sandbox(limits=limits) as sandbox, sandbox.client() as client:
        asked: Any = {**SHORT, "max_output_tokens": 1992}
        streamed = client.responses.with_raw_response.create(stream=True, **asked)
        list(streamed.parse())
        messages: Any = [{"role": "user", "content": "Hi"}]
        chat = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages)
        conversation = client.conversations.with_raw_response.create()

        assert {name: value for name, value in streamed.headers.items() if "ratelimit" in name} == {
            "x-ratelimit-limit-requests": "600",
            "x-ratelimit-remaining-requests": "599",
            "x-ratelimit-reset-requests": "100ms",
            "x-ratelimit-limit-tokens": "60000",
            "x-ratelimit-remaining-tokens": "58000",
            "x-ratelimit-reset-tokens": "2s",
        }
        assert chat.headers["x-ratelimit-remaining-requests"] == "598"
        assert chat.headers["x-ratelimit-remaining-tokens"] == str(58_000 - SHORT_TOKENS)
        assert not [name for name in conversation.headers if "ratelimit" in name]


def test_each_model_has_limits_of_its_own_which_its_snapshots_share() -> None:
    with Sandbox(limits=RateLimits(requests_per_minute=10)) as sandbox:
        left = [
            int(_headers(sandbox, model=model)["x-ratelimit-remaining-requests"])
            for model in ("gpt-4.1", "gpt-4.1-2025-04-14", "gpt-4o")
        ]

        assert left == [9, 8, 9]
        assert sandbox.rate_limits.left("gpt-4.1")[0] == 8
        assert sandbox.rate_limits.most_in(model="gpt-4.1-2025-04-14")[0] == 2
        assert sandbox.rate_limits.most_in()[0] == 3


def test_only_the_models_of_a_mapping_are_limited() -> None:
    with Sandbox(limits={"gpt-4o": RateLimits(requests_per_minute=1)}) as sandbox:
        for _ in range(5):
            _headers(sandbox)
        _headers(sandbox, model="gpt-4o")
        with pytest.raises(openai.RateLimitError):
            _headers(sandbox, model="gpt-4o-2024-08-06")


def test_what_is_invalid_or_fails_counts_as_a_request_and_of_tokens_nothing() -> None:
    limits = RateLimits(requests_per_minute=100, tokens_per_minute=1000)
    with Sandbox(limits=limits, faults=[Fault.server_error(at=2)]) as sandbox:
        with pytest.raises(openai.BadRequestError):
            _headers(sandbox, temperature=9)
        with pytest.raises(openai.InternalServerError) as caught:
            _headers(sandbox)

        assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "98"
        assert caught.value.response.headers["x-ratelimit-remaining-tokens"] == "1000"
        assert sandbox.rate_limits.admitted == []


def test_asking_without_a_pause_keeps_a_model_refused() -> None:
    with Sandbox(limits=RateLimits(requests_per_minute=1)) as sandbox:
        _headers(sandbox)
        for _ in range(10):
            sandbox.advance(30)
            with pytest.raises(openai.RateLimitError):
                _headers(sandbox)
        sandbox.advance(60)
        _headers(sandbox)


def test_limits_can_be_changed_while_the_sandbox_runs() -> None:
    with Sandbox() as sandbox:
        assert _headers(sandbox)["x-ratelimit-limit-requests"] == "10000"
        sandbox.limits = RateLimits(requests_per_minute=1)
        _headers(sandbox)
        with pytest.raises(openai.RateLimitError):
            _headers(sandbox)
        sandbox.limits = None
        assert _headers(sandbox)["x-ratelimit-limit-requests"] == "10000"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "limits nothing"),
        ({"requests_per_minute": 0}, "requests_per_minute=0 is no whole number above 0"),
        ({"tokens_per_minute": -5}, "tokens_per_minute=-5"),
        ({"tokens_per_minute": 1.5}, "tokens_per_minute=1.5"),
        ({"requests_per_minute": True}, "requests_per_minute=True"),
    ],
)
def test_limits_that_cannot_work_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RateLimits(**given)


@pytest.mark.parametrize("limits", [100, {"gpt-4o": 100}])
def test_what_is_no_limit_is_refused(limits: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"write RateLimits\(requests_per_minute"):
        Sandbox(limits=limits)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0004, "1ms"),
        (0.405, "405ms"),
        (0.9996, "1s"),
        (1.5, "1.5s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (3661.25, "1h1m1.25s"),
    ],
)
def test_durations_are_written_as_the_api_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


_PAUSES = st.one_of(st.just(0.0), st.floats(0, 90))


@given(st.integers(1, 50), st.integers(1, 2000), st.lists(st.tuples(_PAUSES, st.integers(0, 2500)), max_size=60))
def test_no_span_admits_more_than_a_full_bucket_and_what_flowed_in_meanwhile(
    requests: int, tokens: int, asked: list[tuple[float, int]]
) -> None:
    now = 0.0
    limits = RateLimits(requests_per_minute=requests, tokens_per_minute=tokens)
    limiting = RateLimiting(limits, lambda: now, keep=None)
    refused = 0
    for pause, amount in asked:
        now += pause
        try:
            limiting.arrive("POST /responses", SHORT)
            limiting.admit(MODEL, amount)
        except Exception:  # noqa: BLE001 - counted below
            refused += 1

    assert len(limiting.admitted) + refused == len(asked) == len(limiting.admitted) + limiting.refused.total()
    for seconds in (1.0, 30.0, 60.0, 600.0):
        most_requests, most_tokens = limiting.most_in(seconds)
        assert most_requests <= requests * (1 + seconds / 60) + 0.001
        assert most_tokens <= tokens * (1 + seconds / 60) + 0.001
