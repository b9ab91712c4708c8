"""Sorting failures: one table from what is known of a failure to what is done about it.

The first row that matches decides: first whether the request was answered at all, then what an HTTP error says, then
what a response or an event of its stream says. Codes and texts are the API's own, as its documentation and its SDK's
issue threads show them; where only the text tells two failures apart, the text is matched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from assistantguard.models.failure import Failure, FailureKind, Mend
from assistantguard.models.values import Value

__all__ = ["RULES", "Facts", "Phase", "Rule", "classify"]

Phase = Literal["connect", "request", "response", "stream"]
"""connect: the request never left. request: it was sent and an HTTP error, or nothing, came back. response: a
response arrived whose status is ``failed``, or a stream's ``error`` event. stream: a stream began and broke off."""


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
    replay_safe: bool
    """Whether the same request may be sent again without looking first at what became of it. An HTTP error says that
    nothing was done; a failed response may have left its input in the conversation."""
    phase: Phase | None = None
    status_codes: tuple[int, ...] = ()
    """Empty matches any; -1 stands for no HTTP answer, 500 for every code from 500 up."""
    codes: tuple[str, ...] = ()
    """Matched against the error's code and type. Where `text` is set too, either will do."""
    text: str | None = None
    """A pattern searched in the message, without regard to case."""
    mend: Mend | None = None
    max_retries: int | None = None
    """How often it is tried again at most, unless the server names a wait; None leaves it to the policy."""

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


_QUOTA_CODES = ("insufficient_quota", "billing_hard_limit_reached", "spend_limit_reached", "billing_not_active")
_QUOTA_TEXT = r"exceeded your current quota|spend(ing)? limit|billing hard limit"
_LOCKED_TEXT = r"currently operating on this conversation"
_STORE_TEXT = r"vector[ _]store.*(not found|expired)|(not found|expired).*vector[ _]store"
_CONTEXT_TEXT = r"exceeds the context window|maximum context length"

RULES: tuple[Rule, ...] = (
    Rule("never sent", "transient", replay_safe=True, phase="connect"),
    Rule("no answer", "ambiguous", replay_safe=False, phase="request", status_codes=(-1,)),
    Rule("stream broken off", "ambiguous", replay_safe=False, phase="stream"),
    Rule(
        "quota or spend limit",
        "exhausted",
        replay_safe=True,
        phase="request",
        codes=_QUOTA_CODES,
        text=_QUOTA_TEXT,
    ),
    Rule(
        "request larger than the rate limit",
        "exhausted",
        replay_safe=True,
        phase="request",
        status_codes=(429,),
        text=r"request too large",
    ),
    Rule(
        "conversation locked",
        "transient",
        replay_safe=True,
        phase="request",
        codes=("conversation_locked",),
        text=_LOCKED_TEXT,
    ),
    Rule(
        "function call without output",
        "structural",
        replay_safe=True,
        phase="request",
        status_codes=(400,),
        text=r"no tool output found for function call",
        mend="answer_calls",
    ),
    Rule(
        "function call output without call",
        "structural",
        replay_safe=True,
        phase="request",
        status_codes=(400,),
        text=r"no tool call found for function call output",
        mend="new_generation",
    ),
    Rule(
        "reasoning item without its partner",
        "structural",
        replay_safe=True,
        phase="request",
        status_codes=(400,),
        text=r"of type '(reasoning|message|function_call)' was provided without its required",
        mend="new_generation",
    ),
    Rule(
        "context longer than the model takes",
        "structural",
        replay_safe=True,
        phase="request",
        status_codes=(400,),
        codes=("context_length_exceeded",),
        text=_CONTEXT_TEXT,
        mend="new_generation",
    ),
    Rule(
        "vector store gone",
        "structural",
        replay_safe=True,
        phase="request",
        status_codes=(400, 404),
        text=_STORE_TEXT,
        mend="vector_store",
    ),
    Rule(
        "conversation gone",
        "structural",
        replay_safe=True,
        phase="request",
        status_codes=(400, 404),
        text=r"conversation.*(not found|does not exist)|(not found|no).*conversation"
        r"|no thread found|thread\b.{0,99}(not found|does not exist)",
        mend="new_generation",
    ),
    Rule(
        "run that takes no tool outputs",
        "structural",
        replay_safe=True,
        phase="request",
        status_codes=(400,),
        text=r"do not accept tool outputs|expected tool outputs for call_ids",
    ),
    Rule(
        "rate limit",
        "transient",
        replay_safe=True,
        phase="request",
        status_codes=(429,),
        codes=("rate_limit_exceeded", "requests", "tokens"),
    ),
    Rule(
        "too many requests of an unknown kind",
        "transient",
        replay_safe=True,
        phase="request",
        status_codes=(429,),
        max_retries=1,
    ),
    Rule("time-out or conflict at the server", "transient", replay_safe=True, phase="request", status_codes=(408, 409)),
    Rule("server error", "transient", replay_safe=True, phase="request", status_codes=(500,)),
    Rule("request refused", "fatal", replay_safe=True, phase="request"),
    Rule(
        "quota or spend limit, in a response",
        "exhausted",
        replay_safe=False,
        phase="response",
        codes=_QUOTA_CODES,
        text=_QUOTA_TEXT,
    ),
    Rule(
        "context longer than the model takes, in a response",
        "structural",
        replay_safe=False,
        phase="response",
        codes=("context_length_exceeded",),
        text=_CONTEXT_TEXT,
        mend="new_generation",
    ),
    Rule(
        "vector store gone, in a response",
        "structural",
        replay_safe=False,
        phase="response",
        text=_STORE_TEXT,
        mend="vector_store",
    ),
    Rule(
        "refused by the server's own word",
        "transient",
        replay_safe=False,
        phase="response",
        codes=("server_error", "rate_limit_exceeded", "conversation_locked"),
    ),
    Rule("cancelled by someone else", "transient", replay_safe=False, phase="response", codes=("cancelled",)),
    Rule("run expired", "structural", replay_safe=False, phase="response", codes=("expired",)),
    Rule("vector store too slow", "transient", replay_safe=False, phase="response", codes=("vector_store_timeout",)),
    Rule("failed for another reason", "fatal", replay_safe=False),
)


def classify(facts: Facts) -> Failure:
    """Sort a failure by the first row of `RULES` that matches.

    The server's ``x-should-retry: false`` takes the retries away from a transient failure; ``true`` makes a fatal
    HTTP error transient, as it does in the SDK. How long a wait may be that the server asks for is the policy's
    affair.
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
        rule.replay_safe,
    )
