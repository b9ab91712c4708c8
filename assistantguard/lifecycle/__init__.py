"""What is done to a database from time to time: threads that nobody uses are put away, and what is left over goes."""

from __future__ import annotations

from assistantguard.lifecycle.consent import consent_to_deletion, withdraw_consent_to_deletion
from assistantguard.lifecycle.deletion import ServerDeletion, delete_conversations_of, forget_thread
from assistantguard.lifecycle.report import SweepPart, SweepReport
from assistantguard.lifecycle.sweeping import sweep
from assistantguard.storage.consents import Consent

__all__ = [
    "Consent",
    "ServerDeletion",
    "SweepPart",
    "SweepReport",
    "consent_to_deletion",
    "delete_conversations_of",
    "forget_thread",
    "sweep",
    "withdraw_consent_to_deletion",
]
