"""Vector stores and their files, as data. Their status follows from the clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Embedding", "Store", "StoreFile", "counts"]

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Embedding:
    """How files are embedded."""

    seconds: float = 0.0
    """How long each file stays in progress."""
    failing: Sequence[str] = ()
    """Names or ids of files that fail; ``"*"`` is all."""
    error_code: str = "server_error"
    """Why they fail: ``server_error``, ``unsupported_file`` or ``invalid_file``."""

    def __post_init__(self) -> None:
        if self.seconds < 0:
            raise ConfigurationError(f"seconds={self.seconds} is below 0")
        if self.error_code not in {"server_error", "unsupported_file", "invalid_file"}:
            raise ConfigurationError(
                f"error_code={self.error_code!r} is not one of server_error, unsupported_file, invalid_file"
            )


@dataclass(slots=True, eq=False)
class StoreFile:
    """A file in a vector store."""

    id: str
    store_id: str
    created_at: int
    ready_at: float
    size: int
    attributes: dict[str, Any]
    chunking: dict[str, Any]
    failure: str | None
    cancelled: bool = False

    def status(self, now: float) -> str:
        """Return the status at a time."""
        if self.cancelled:
            return "cancelled"
        if now < self.ready_at:
            return "in_progress"
        return "completed" if self.failure is None else "failed"

    def document(self, now: float) -> dict[str, Any]:
        """Return the file as the API shows it."""
        status = self.status(now)
        error = None
        if status == "failed":
            error = {"code": self.failure, "message": "The file could not be processed. (sandbox)"}
        return {
            "id": self.id,
            "object": "vector_store.file",
            "created_at": self.created_at,
            "usage_bytes": self.size if status == "completed" else 0,
            "vector_store_id": self.store_id,
            "status": status,
            "last_error": error,
            "chunking_strategy": self.chunking,
            "attributes": self.attributes,
        }


@dataclass(slots=True, eq=False)
class Store:
    """A vector store."""

    id: str
    name: str
    created_at: int
    last_active_at: int
    metadata: dict[str, str]
    days: int | None
    files: dict[str, StoreFile] = field(default_factory=dict)
    batches: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    ended_at: int | None = None
    """When it expired before its time, in seconds since 1970."""

    @property
    def expires_at(self) -> int | None:
        """When it expires, in seconds since 1970."""
        if self.ended_at is not None:
            return self.ended_at
        return None if self.days is None else self.last_active_at + self.days * DAY

    def expired(self, now: float) -> bool:
        """Whether it has expired. An expired store has lost its files."""
        if self.expires_at is None or now < self.expires_at:
            return False
        self.files.clear()
        return True

    def document(self, now: float) -> dict[str, Any]:
        """Return the store as the API shows it."""
        expired = self.expired(now)
        file_counts = counts(list(self.files.values()), now)
        shown: dict[str, Any] = {
            "id": self.id,
            "object": "vector_store",
            "created_at": self.created_at,
            "name": self.name,
            "usage_bytes": sum(file.size for file in self.files.values() if file.status(now) == "completed"),
            "file_counts": file_counts,
            "status": "expired" if expired else "in_progress" if file_counts["in_progress"] else "completed",
            "expires_at": self.expires_at,
            "last_active_at": self.last_active_at,
            "metadata": self.metadata,
        }
        if self.days is not None:
            shown["expires_after"] = {"anchor": "last_active_at", "days": self.days}
        return shown


def counts(files: Sequence[StoreFile], now: float) -> dict[str, int]:
    """Return how many files have which status."""
    statuses = [file.status(now) for file in files]
    found = {name: statuses.count(name) for name in ("in_progress", "completed", "failed", "cancelled")}
    return {**found, "total": len(statuses)}
