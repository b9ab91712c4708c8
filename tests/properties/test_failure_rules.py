"""The table that sorts failures: one row here for each of its rules."""

from __future__ import annotations

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistantguard.failures import RULES, Facts, Phase, Rule, classify
from assistantguard.models import FailureKind

_EXAMPLES: dict[str, tuple[Facts, FailureKind]] = {
    "quota or spend limit": (
        Facts("request", "You exceeded your current quota, please check your plan.", 429, "insufficient_quota"),
        "exhausted",
    ),
    "request larger than the rate limit": (
        Facts("request", "Request too large for gpt-6-luna on tokens per min.", 429, "rate_limit_exceeded"),
        "exhausted",
    ),
    "conversation locked": (
        Facts("request", "Another process is currently operating on this conversation.", 400, "conversation_locked"),
        "transient",
    ),
    "function call without output": (
        Facts("request", "No tool output found for function call call_1.", 400, type="invalid_request_error"),
        "structural",
    ),
    "function call output without call": (
        Facts("request", "No tool call found for function call output with call_id call_1.", 400),
        "structural",
    ),
    "reasoning item without its partner": (
        Facts("request", "Item 'rs_1' of type 'reasoning' was provided without its required following item.", 400),
        "structural",
    ),
    "context longer than the model takes": (
        Facts("request", "Your input exceeds the context window of this model.", 400, "context_length_exceeded"),
        "structural",
    ),
    "vector store gone": (Facts("request", "Vector store with id vs_1 not found.", 404), "structural"),
    "conversation gone": (Facts("request", "Conversation with id 'conv_1' not found.", 404), "structural"),
    "refused by the server's own word": (Facts("response", "Something went wrong.", code="server_error"), "transient"),
    "vector store too slow": (Facts("response", "Too slow.", code="vector_store_timeout"), "transient"),
    "failed for another reason": (Facts("response", "No.", code="invalid_prompt"), "fatal"),
    "rate limit": (Facts("request", "Rate limit reached.", 429, "rate_limit_exceeded", "requests"), "transient"),
    "too many requests of an unknown kind": (Facts("request", "Slow down.", 429), "transient"),
    "time-out or conflict at the server": (Facts("request", "Conflict.", 409), "transient"),
    "server error": (Facts("request", "Bad gateway.", 502), "transient"),
    "never sent": (Facts("connect", "Connection error."), "transient"),
    "no answer": (Facts("request", "Connection error."), "ambiguous"),
    "request refused": (Facts("request", "Incorrect API key provided.", 401, "invalid_api_key"), "fatal"),
}

_words = st.sampled_from(
    [
        "",
        *_EXAMPLES,
        *(facts.message for facts, _ in _EXAMPLES.values()),
        *sorted({code for rule in RULES for code in rule.codes}),
    ]
)
_facts = st.builds(
    Facts,
    st.sampled_from(typing.get_args(Phase)),
    st.one_of(_words, st.text()),
    st.one_of(st.none(), st.integers(100, 999)),
    st.one_of(st.none(), _words, st.text()),
    st.one_of(st.none(), _words),
    st.one_of(st.none(), st.floats(0, 1e9)),
    st.one_of(st.none(), st.booleans()),
    st.one_of(st.none(), st.text()),
)


def test_every_rule_has_an_example_here() -> None:
    assert set(_EXAMPLES) >= {rule.name for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_is_reached_and_sorts_as_it_says(rule: Rule) -> None:
    facts, kind = _EXAMPLES[rule.name]

    first = next(other for other in RULES if other.matches(facts))
    failure = classify(facts)

    assert first.name == rule.name
    assert failure.kind == kind == rule.kind
    assert failure.mend == rule.mend
    assert failure.max_retries == rule.max_retries


@given(_facts)
def test_anything_is_sorted(facts: Facts) -> None:
    failure = classify(facts)

    assert failure.kind in typing.get_args(FailureKind)
    assert (failure.message, failure.status_code, failure.request_id) == (
        facts.message,
        facts.status_code,
        facts.request_id,
    )
    if failure.mend is not None:
        assert failure.kind == "structural"


@given(_facts)
def test_a_server_that_says_not_to_retry_is_not_asked_again(facts: Facts) -> None:
    said = Facts(facts.phase, facts.message, facts.status_code, facts.code, facts.type, None, should_retry=False)

    failure = classify(said)

    assert failure.kind != "transient" or failure.max_retries == 0


@pytest.mark.parametrize("retry_after", [0.0, 0.5, 60.0])
def test_a_wait_that_the_server_names_makes_an_unknown_429_worth_retrying(retry_after: float) -> None:
    assert classify(Facts("request", "Slow down.", 429)).max_retries == 1
    assert classify(Facts("request", "Slow down.", 429, retry_after=retry_after)).max_retries is None


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 529])
def test_every_code_from_500_up_is_a_server_error(status: int) -> None:
    assert classify(Facts("request", "?", status)).kind == "transient"
