"""The fault matrix over the drop-in: runs of the Assistants API, polled from a process other than their own.

A choice of it, see `CHOSEN`; ``python -m tests.matrix --dropin`` runs all there is.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.matrix.dropin_other import OtherProcess
from tests.matrix.dropin_runner import run
from tests.matrix.dropin_table import CHOSEN, COMBINATIONS


@pytest.fixture(scope="module")
def other() -> Iterator[OtherProcess]:
    """The process that polls, for all combinations one after another."""
    other = OtherProcess()
    yield other
    other.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", CHOSEN)
def test_an_official_ending_true_books_and_a_thread_that_goes_on(warm: None, other: OtherProcess, name: str) -> None:
    broken = run(COMBINATIONS[name], other).broken
    assert not broken
