"""Fixtures for tests against the sandbox: a pytest plugin that is active wherever assistantguard is installed.

It stands outside the package, so that pytest starts as quickly with it as without: nothing of assistantguard is
imported before a test asks for a fixture.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistantguard.sandbox import Sandbox

__all__ = ["StartSandbox", "openai_sandbox", "sandbox"]


class StartSandbox(Protocol):
    """Starts a sandbox that runs until the test is over."""

    def __call__(self, model: Any = None, **options: Any) -> Sandbox:
        """Start a sandbox; the arguments are those of `assistantguard.sandbox.Sandbox`."""
        ...


@pytest.fixture
def openai_sandbox() -> Iterator[StartSandbox]:
    """Start sandboxes: ``openai_sandbox(["Hello!"], faults=[...])``. They are closed when the test is over."""
    with ExitStack() as stack:

        def start(model: Any = None, **options: Any) -> Sandbox:
            from assistantguard.sandbox import Sandbox

            return stack.enter_context(Sandbox(model, **options))

        yield start


@pytest.fixture
def sandbox(openai_sandbox: StartSandbox) -> Sandbox:
    """A running sandbox whose model answers with what it was told."""
    return openai_sandbox()
