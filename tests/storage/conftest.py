"""The stores that the conformance suites run over."""

from __future__ import annotations

import pytest

from assistantguard.storage import MemoryThreads, ThreadStore


@pytest.fixture
def store() -> ThreadStore:
    return MemoryThreads()
