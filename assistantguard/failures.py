"""Sorting failures: one table from what is known of a failure to what is done about it.

The first row that matches decides. Codes and texts are the API's own, as its documentation and its SDK's issue
threads show them; where only the text tells two failures apart, the text is matched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from assistantguard.models.failure import Failure, FailureKind, Mend
from assistantguard.models.values import Value

__all__ = ["RULES", "Facts", "Phase", "Rule", "classify"]

Phase = Literal["connect", "request", "response"]
"""connect: the request never left. request: it was sent and an HTTP error, or nothing, came back. response: a
response arrived whose status is ``failed``."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Facts(Value):
    """What is known of a failure."""

    phase: Phase
    message: str
    status_code: int | None = None
    """None where no HTTP answer arrived."""
    code: str | None = None
    type: str | None = None
    retry_after: float | None = None
    """Seconds."""
    should_retry: bool | None = None
    """The ``x-should-retry`` header."""
    request_id: str | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Rule(Value):
    """One row: every field that is set must match."""

    name: str
    kind: FailureKind
    phase: Phase | None = None
    status_codes: tuple[int, ...] = ()
    """Empty matches any; -1 stands for no HTTP answer, 500 for every code from 500 up."""
    codes: tuple[str, ...] = ()
    """Matched against the error's code and type."""
    text: str | None = None
    """A pattern searched in the message, without regard to case."""
    mend: Mend | None = None
    max_retries: int | None = None

    def matches(self, facts: Facts) -> bool:
        """Whether this row speaks of `facts`."""
        if self.phase is not None and facts.phase != self.phase:
            return False
        if self.status_codes:
            status = -1 if facts.status_code is None else min(facts.status_code, 500)
            if status not in self.status_codes:
                return False
        by_code = bool(self.codes) and (facts.code in self.codes or facts.type in self.codes)
        by_text = self.text is not None and re.search(self.text, facts.message, re.IGNORECASE) is not None
        if self.codes and self.text is not None:
            return by_code or by_text
        return (not self.codes or by_code) and (self.text is None or by_text)


RULES: tuple[Rule, ...] = (
    Rule(
        "quota or spend limit",
        "exhausted",
        codes=(
            "insufficient_quota",
            "billing_hard_limit_reached",
            "spend_limit_reached",
            "billing_not_active",
        ),
        text=r"exceeded your current quota|spend(ing)? limit|billing hard limit",
    ),
    Rule("request larger than the rate limit", "exhausted", status_codes=(429,), text=r"request too large"),
    Rule(
        "conversation locked",
        "transient",
        codes=("conversation_locked",),
        text=r"currently operating on this conversation",
    ),
    Rule(
        "function call without output",
        "structural",
        status_codes=(400,),
        text=r"no tool output found for function call",
        mend="answer_calls",
    ),
    Rule(
        "function call output without call",
        "structural",
        status_codes=(400,),
        text=r"no tool call found for function call output",
        mend="new_generation",
    ),
    Rule(
        "reasoning item without its partner",
        "structural",
        status_codes=(400,),
        text=r"of type '(reasoning|message|function_call)' was provided without its required",
        mend="new_generation",
    ),
    Rule(
        "context longer than the model takes",
        "structural",
        status_codes=(400,),
        codes=("context_length_exceeded",),
        text=r"exceeds the context window|maximum context length",
        mend="new_generation",
    ),
    Rule(
        "vector store gone",
        "structural",
        status_codes=(400, 404),
        text=r"vector[ _]store.*(not found|expired)|(not found|expired).*vector[ _]store",
        mend="vector_store",
    ),
    Rule(
        "conversation gone",
        "structural",
        status_codes=(400, 404),
        text=r"conversation.*(not found|does not exist)|(not found|no).*conversation",
        mend="new_generation",
    ),
    Rule(
        "refused by the server's own word",
        "transient",
        phase="response",
        codes=("server_error", "rate_limit_exceeded"),
    ),
    Rule("vector store too slow", "transient", phase="response", codes=("vector_store_timeout",)),
    Rule("failed for another reason", "fatal", phase="response"),
    Rule("rate limit", "transient", status_codes=(429,), codes=("rate_limit_exceeded", "requests", "tokens")),
    Rule("too many requests of an unknown kind", "transient", status_codes=(429,), max_retries=1),
    Rule("time-out or conflict at the server", "transient", status_codes=(408, 409)),
    Rule("server error", "transient", status_codes=(500,)),
    Rule("never sent", "transient", phase="connect"),
    Rule("no answer", "ambiguous", phase="request", status_codes=(-1,)),
    Rule("request refused", "fatal"),
)


def classify(facts: Facts) -> Failure:
    """Sort a failure by the first row of `RULES` that matches.

    The server's ``x-should-retry: false`` takes the retries away from a transient failure; ``true`` makes a fatal
    HTTP error transient, as it does in the SDK.
    """
    rule = next(rule for rule in RULES if rule.matches(facts))
    kind, max_retries = rule.kind, rule.max_retries
    if rule.status_codes == (429,) and facts.retry_after is not None:
        max_retries = None
    if facts.should_retry is False and kind == "transient":
        max_retries = 0
    elif facts.should_retry is True and kind == "fatal":
        kind = "transient"
    return Failure(
        kind,
        facts.message,
        facts.code or facts.type,
        facts.status_code,
        facts.retry_after,
        max_retries,
        rule.mend,
        facts.request_id,
    )
