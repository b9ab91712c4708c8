"""The table of failures as a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from assistantguard.failures.rules import RULES, Phase, Rule
from assistantguard.models.failure import FailureKind, Mend

__all__ = ["markdown"]

_HEAD = """\
# What is done about each failure

This page is printed by `python -m assistantguard.failures` from the table that the guard goes by; a test compares the
two. The first row that matches a failure decides.

- **Matched** says what must be true: when it failed, the HTTP status, the error's code or type, a text in its message
  (a regular expression, without regard to case).
- **Safe to send again** says whether the same request may be sent again without looking first at what became of the
  first one. An HTTP error says that nothing was done. A failed response may have left its input in the conversation,
  and of a lost connection nothing is known: there the guard looks at the conversation first.
- **Wait** is the server's `retry-after-ms` or `retry-after` where it sends one, and the back-off of `TransientRetry`
  where it does not. `TransientRetry(max_wait=…)` and the deadline of the run bound it: where the server asks for more,
  the failure is raised at once.
- `x-should-retry: false` takes the retries away from a transient failure; `x-should-retry: true` makes a fatal HTTP
  error transient.

Retries are the guard's alone: the SDK's own are off, so that attempts neither hide nor multiply.

"""

_PHASES: dict[Phase, str] = {
    "connect": "the request never left",
    "request": "HTTP error",
    "response": "failed response, or a stream's `error` event",
    "stream": "a stream began and broke off",
}
_WAITS: dict[FailureKind, str] = {"transient": "server's, else back-off"}
_MENDS: dict[Mend, str] = {
    "answer_calls": "answer the open calls",
    "new_generation": "begin a new conversation with what is carried over",
    "vector_store": "build the vector store again",
}
_HAPPENS: dict[FailureKind, str] = {
    "transient": "tried again while the policies allow it, then `RetriesExhausted`",
    "exhausted": "never tried again: `QuotaExhausted`",
    "structural": "mended and tried again at once, at most three times in a run, then `ThreadBroken`",
    "ambiguous": (
        "looked up by the answer's id, else in the conversation: an answer that is there is taken; where there is none"
        " it is booked as an estimate, and tried again while the policies allow it, then `OutcomeUnknown`"
    ),
    "fatal": "`RequestRejected`",
}
_COLUMNS = ("Failure", "Matched", "Kind", "Safe to send again", "Wait", "Mend", "What happens")


def markdown() -> str:
    """The page, as it stands in ``docs/failures.md``."""
    lines = [_row(_COLUMNS), _row(["---"] * len(_COLUMNS)), *(_row(_cells(rule)) for rule in RULES)]
    return _HEAD + "\n".join(lines) + "\n"


def _cells(rule: Rule) -> tuple[str, ...]:
    happens = _HAPPENS[rule.kind]
    if rule.kind == "structural" and rule.mend is None:
        happens = "the thread is healed, nothing is tried again: `ThreadBroken`"
    if rule.max_retries is not None:
        times = "once" if rule.max_retries == 1 else f"{rule.max_retries} times"
        happens = f"tried again {times} at most, unless the server names a wait, then `RetriesExhausted`"
    return (
        rule.name,
        _matched(rule),
        rule.kind,
        "yes" if rule.replay_safe else "no",
        _WAITS.get(rule.kind, "none"),
        "none" if rule.mend is None else _MENDS[rule.mend],
        happens,
    )


def _matched(rule: Rule) -> str:
    if rule.phase is None:
        return "anything else"
    parts = ["sent, and no answer came"] if rule.status_codes == (-1,) else [_PHASES[rule.phase]]
    if rule.status_codes != (-1,):
        statuses = ["500 and above" if status == 500 else f"{status}" for status in rule.status_codes]
        parts += [f"status {' or '.join(statuses)}"] if statuses else []
    either = [f"`{code}`" for code in rule.codes]
    if rule.text is not None:
        either.append(f"text `{rule.text}`")
    parts += [" or ".join(either)] if either else []
    return "; ".join(parts)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
