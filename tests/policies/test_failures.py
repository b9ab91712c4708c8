"""What kind of failure it was: the table that retrying goes by."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from assistantguard.engine.failing import error_of
from assistantguard.failures import RULES, Facts, Rule, classify
from assistantguard.failures.page import markdown
from assistantguard.models import FailureKind
from assistantguard.models.failure import Mend
from tests.support.failures import EXAMPLES

PAGE = Path(__file__).parents[2] / "docs" / "failures.md"

ROWS = [(rule, facts) for rule in RULES for facts in EXAMPLES.get(rule.name, ())]


def test_every_rule_has_an_example_and_every_example_a_rule() -> None:
    assert [name for name, facts in EXAMPLES.items() if facts] == [rule.name for rule in RULES]


@pytest.mark.parametrize(("rule", "facts"), ROWS, ids=[rule.name for rule, _ in ROWS])
def test_each_line_of_the_table_decides_what_it_says(rule: Rule, facts: Facts) -> None:
    first = next(other for other in RULES if other.matches(facts))
    assert first.name == rule.name
    failure = classify(facts)
    assert (failure.kind, failure.mend, failure.replay_safe) == (rule.kind, rule.mend, rule.replay_safe)
    assert failure.max_retries == rule.max_retries
    assert (failure.status_code, failure.code) == (facts.status_code, facts.code or facts.type)


KINDS: dict[FailureKind, list[str]] = {
    "transient": [
        "never sent",
        "conversation locked",
        "rate limit",
        "too many requests of an unknown kind",
        "time-out or conflict at the server",
        "server error",
        "refused by the server's own word",
        "cancelled by someone else",
        "vector store too slow",
    ],
    "exhausted": [
        "quota or spend limit",
        "request larger than the rate limit",
        "quota or spend limit, in a response",
    ],
    "structural": [
        "function call without output",
        "function call output without call",
        "reasoning item without its partner",
        "context longer than the model takes",
        "vector store gone",
        "conversation gone",
        "run that takes no tool outputs",
        "context longer than the model takes, in a response",
        "vector store gone, in a response",
        "run expired",
    ],
    "ambiguous": ["no answer", "stream broken off"],
    "fatal": ["request refused", "failed for another reason"],
}


def test_no_failure_has_changed_its_kind_unnoticed() -> None:
    assert {kind: [rule.name for rule in RULES if rule.kind == kind] for kind in KINDS} == KINDS


def test_only_what_was_never_sent_or_refused_by_an_http_error_is_sent_again_unseen() -> None:
    blind = {rule.phase for rule in RULES if rule.replay_safe}
    seen = {rule.name for rule in RULES if not rule.replay_safe and rule.phase in {"connect", "request"}}
    assert (blind, seen) == ({"connect", "request"}, {"no answer"})


def test_the_page_is_what_the_code_prints() -> None:
    command = [sys.executable, "-W", "error", "-m", "assistantguard.failures"]
    printed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True).stdout
    assert PAGE.read_text(encoding="utf-8") == printed, "print it: python -m assistantguard.failures > docs/failures.md"


def test_the_page_has_a_line_for_each_rule_with_its_error() -> None:
    lines = [line for line in markdown().splitlines() if line.startswith("|")][2:]
    assert len(lines) == len(RULES)
    for line, rule in zip(lines, RULES, strict=True):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        assert (cells[0], cells[2], cells[3]) == (rule.name, rule.kind, "yes" if rule.replay_safe else "no")
        assert all(f"`{code}`" in cells[1] for code in rule.codes)
        error = error_of(classify(EXAMPLES[rule.name][0]), 1)
        assert f"`{type(error).__name__}`" in cells[6]


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
    assert failure.replay_safe


def test_a_429_of_an_unknown_kind_is_tried_once_more_unless_the_server_names_a_wait() -> None:
    assert classify(Facts("request", "slow down", 429)).max_retries == 1
    assert classify(Facts("request", "slow down", 429, retry_after=2.0)).max_retries is None


def test_a_failure_keeps_what_support_asks_for() -> None:
    failure = classify(Facts("request", "it failed", 500, type="server_error", retry_after=3.0, request_id="req_1"))
    assert (failure.code, failure.retry_after, failure.request_id) == ("server_error", 3.0, "req_1")
