"""The application's word that old threads may be deleted: recorded in the database, with who gave it and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistantguard.errors import ConfigurationError
from assistantguard.models.values import Value

if TYPE_CHECKING:
    from assistantguard.storage.database import Database, Transaction

__all__ = ["MOST_WORDS", "Consent", "consent_in_force", "record_consent", "withdraw_consent"]

MOST_WORDS = 1_000
"""Characters."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Consent(Value):
    """That threads may be deleted which were archived for long enough."""

    words: str
    """Who consents, and why."""
    delete_after: float
    """Seconds that a thread has been archived at least."""
    given_at: float
    """Unix time, seconds."""


def consent_in_force(database: Database) -> Consent | None:
    """The consent that was given last and not withdrawn."""
    rows = database.query(
        "SELECT words, delete_after, given_at FROM guard_consents WHERE withdrawn_at IS NULL ORDER BY id DESC LIMIT 1"
    )
    return Consent(*rows[0]) if rows else None


def record_consent(database: Database, words: str, delete_after: float, now: float) -> Consent:
    """Record a consent, in place of the one before, which stays on record as withdrawn.

    Raises:
        ConfigurationError: The words say nothing, are too long, or cannot be kept.
    """
    if not isinstance(words, str) or not words.strip() or len(words) > MOST_WORDS:
        shown = f"{words[:40]!r}… of {len(words):,} characters" if isinstance(words, str) and words else repr(words)
        raise ConfigurationError(
            f"the consent is {shown}: say in 1 to {MOST_WORDS:,} characters who consents to the deletion, and why"
        )
    if not all(character.isprintable() for character in words):
        raise ConfigurationError("the consent has control characters or line breaks: write it in one line of text")
    consent = Consent(words.strip(), delete_after, now)

    def work(transaction: Transaction) -> None:
        _withdraw(transaction, now)
        transaction.execute(
            "INSERT INTO guard_consents (words, delete_after, given_at) VALUES (?, ?, ?)",
            (consent.words, delete_after, now),
        )

    database.run(work, repeatable=True)
    return consent


def withdraw_consent(database: Database, now: float) -> bool:
    """Withdraw the consent; return whether there was one."""
    return bool(database.run(lambda transaction: _withdraw(transaction, now)))


def _withdraw(transaction: Transaction, now: float) -> list[tuple[object, ...]]:
    return transaction.execute(
        "UPDATE guard_consents SET withdrawn_at = ? WHERE withdrawn_at IS NULL RETURNING id", (now,)
    )
