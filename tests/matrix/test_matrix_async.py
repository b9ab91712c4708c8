"""The fault matrix, asyncio colour: whatever goes wrong, wherever, in whichever way of calling.

A choice of it, see `CHOSEN`; `make faults` runs all there is.
"""

from __future__ import annotations

import pytest

from tests.matrix.runner import run
from tests.matrix.table import CHOSEN, COMBINATIONS


@pytest.mark.parametrize("name", [name for name in CHOSEN if COMBINATIONS[name].way.colour == "async"])
def test_a_reply_or_a_named_error_true_books_and_a_thread_that_goes_on(warm: None, name: str) -> None:
    broken = run(COMBINATIONS[name]).broken
    assert not broken
