"""Embedding a set of files once."""

from __future__ import annotations

from assistantguard.errors import ConfigurationError
from assistantguard.policies.base import Decision, EmbedFiles, Policy, View
from assistantguard.policies.checks import at_least

__all__ = ["VectorStoreReuse"]


class VectorStoreReuse(Policy):
    """One vector store per set of files, attached to the thread once and found again by later threads and processes.

    Args:
        expires_after_days: 1 to 365; days without use after which the server drops the store. Every store gets one,
            since the API sets none by itself.
        timeout: Seconds until the store must be ready.

    Raises:
        ConfigurationError: A value is outside its range.
    """

    def __init__(self, *, expires_after_days: int = 7, timeout: float = 120.0) -> None:
        if isinstance(expires_after_days, bool) or not 1 <= expires_after_days <= 365:
            raise ConfigurationError(
                f"VectorStoreReuse expires_after_days is {expires_after_days!r}, the API takes 1 to 365: change it"
            )
        self.expires_after_days = expires_after_days
        self.timeout = at_least("VectorStoreReuse timeout", float(timeout), 0.1) or 0.1

    def on_files(self, view: View) -> Decision | None:  # noqa: ARG002 - every thread is treated alike
        """Look for a store with the same files before making one."""
        return EmbedFiles(
            "the same files are embedded once",
            reuse=True,
            expires_after_days=self.expires_after_days,
            timeout=self.timeout,
        )
