"""The table that sorts failures, on anything that it could be given."""

from __future__ import annotations

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistantguard.failures import RULES, Facts, Phase, classify
from assistantguard.models import FailureKind
from tests.support.failures import EXAMPLES

_words = st.sampled_from(
    [
        "",
        *EXAMPLES,
        *(facts.message for examples in EXAMPLES.values() for facts in examples),
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
    if facts.phase != "connect" and facts.status_code is None:
        assert not failure.replay_safe
    if facts.phase == "connect" or (facts.phase == "request" and facts.status_code is not None):
        assert failure.replay_safe
    assert failure.kind != "ambiguous" or not failure.replay_safe


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
