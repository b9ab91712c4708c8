"""Guards whose threads are kept in memory, and guards whose threads are kept in a database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assistantguard.sandbox import Sandbox
from tests.support.world import Bot, World


@pytest.fixture
def sandbox(world: World) -> Sandbox:
    """Its model tells how many items it has read, and what was said last."""
    return world.sandbox(lambda request: f"Heard {len(request.items)}: {request.last_user_text}")


@pytest.fixture(params=["memory", "sqlite"])
def begin(request: pytest.FixtureRequest, world: World, sandbox: Sandbox, tmp_path: Path) -> Callable[..., Bot]:
    """Begins a guard with these policies and options; in a database, all of them know the same threads."""
    url = f"sqlite:///{tmp_path / 'guard.db'}"
    kept: dict[str, Any] = {} if request.param == "memory" else {"ledger": url}
    return lambda *policies, **options: world.bot(
        options.pop("sandbox", sandbox), list(policies) or None, **{**kept, **options}
    )
