"""What kind of failure it was: the table that retrying goes by."""

from __future__ import annotations

from typing import Any

import pytest

from assistantguard.failures import Facts, classify
from assistantguard.models import FailureKind
from assistantguard.models.failure import Mend

Row = tuple[dict[str, Any], FailureKind]

HTTP: dict[str, Row] = {
    "rate limit": ({"status_code": 429, "code": "rate_limit_exceeded"}, "transient"),
    "rate limit by type": ({"status_code": 429, "type": "requests"}, "transient"),
    "quota": ({"status_code": 429, "code": "insufficient_quota"}, "exhausted"),
    "quota by type only": ({"status_code": 429, "type": "insufficient_quota"}, "exhausted"),
    "quota by text only": ({"status_code": 429, "message": "You exceeded your current quota, please"}, "exhausted"),
    "hard limit": ({"status_code": 400, "code": "billing_hard_limit_reached"}, "exhausted"),
    "request too large": ({"status_code": 429, "message": "Request too large for gpt-6 on TPM"}, "exhausted"),
    "408": ({"status_code": 408}, "transient"),
    "409": ({"status_code": 409}, "transient"),
    "500": ({"status_code": 500}, "transient"),
    "502": ({"status_code": 502}, "transient"),
    "503": ({"status_code": 503}, "transient"),
    "529": ({"status_code": 529}, "transient"),
    "locked": ({"status_code": 400, "code": "conversation_locked"}, "transient"),
    "400": ({"status_code": 400}, "fatal"),
    "401": ({"status_code": 401}, "fatal"),
    "403": ({"status_code": 403}, "fatal"),
    "404": ({"status_code": 404}, "fatal"),
    "413": ({"status_code": 413}, "fatal"),
    "422": ({"status_code": 422}, "fatal"),
    "no answer": ({"status_code": None}, "ambiguous"),
    "never sent": ({"phase": "connect"}, "transient"),
    "failed: server_error": ({"phase": "response", "code": "server_error"}, "transient"),
    "failed: rate limit": ({"phase": "response", "code": "rate_limit_exceeded"}, "transient"),
    "failed: invalid prompt": ({"phase": "response", "code": "invalid_prompt"}, "fatal"),
    "failed: something new": ({"phase": "response", "code": "brand_new"}, "fatal"),
    "failed: quota in disguise": (
        {"phase": "response", "code": "rate_limit_exceeded", "message": "You exceeded your current quota, please"},
        "exhausted",
    ),
}


@pytest.mark.parametrize("name", HTTP)
def test_each_failure_has_its_kind(name: str) -> None:
    facts, kind = HTTP[name]
    failure = classify(Facts(**{"phase": "request", "message": "it failed", **facts}))
    assert failure.kind == kind
    assert failure.status_code == facts.get("status_code")


MENDED: list[tuple[int, str, Mend]] = [
    (400, "No tool output found for function call call_abc.", "answer_calls"),
    (400, "No tool call found for function call output with call_id call_abc.", "new_generation"),
    (404, "Conversation with id 'conv_1' not found.", "new_generation"),
    (400, "Your input exceeds the context window of this model.", "new_generation"),
    (400, "Vector store vs_1 is expired.", "vector_store"),
    (404, "Vector store with id vs_1 not found.", "vector_store"),
    (400, "Item 'rs_1' of type 'reasoning' was provided without its required following item.", "new_generation"),
]


@pytest.mark.parametrize(("status", "message", "mend"), MENDED)
def test_what_can_be_mended_says_how(status: int, message: str, mend: Mend) -> None:
    failure = classify(Facts("request", message, status))
    assert (failure.kind, failure.mend) == ("structural", mend)


@pytest.mark.parametrize(
    ("status", "code", "told", "kind", "retries"),
    [
        (500, None, False, "transient", 0),
        (429, "rate_limit_exceeded", False, "transient", 0),
        (500, None, True, "transient", None),
        (400, None, True, "transient", None),
        (429, "insufficient_quota", True, "exhausted", None),
        (400, None, False, "fatal", None),
    ],
)
def test_x_should_retry_is_heard_but_never_over_the_quota(
    status: int, code: str | None, kind: str, retries: int | None, *, told: bool
) -> None:
    failure = classify(Facts("request", "it failed", status, code, should_retry=told))
    assert (failure.kind, failure.max_retries) == (kind, retries)


def test_a_429_of_an_unknown_kind_is_tried_once_more_unless_the_server_names_a_wait() -> None:
    assert classify(Facts("request", "slow down", 429)).max_retries == 1
    assert classify(Facts("request", "slow down", 429, retry_after=2.0)).max_retries is None


def test_a_failure_keeps_what_support_asks_for() -> None:
    failure = classify(Facts("request", "it failed", 500, type="server_error", retry_after=3.0, request_id="req_1"))
    assert (failure.code, failure.retry_after, failure.request_id) == ("server_error", 3.0, "req_1")
