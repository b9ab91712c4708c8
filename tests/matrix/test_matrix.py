"""Whatever goes wrong, wherever, in whichever way: a reply or a named error, true books, a thread that goes on.

Here each request that makes an answer meets every fault, and the others one fault of each kind. `make faults` runs
all there is.
"""

from __future__ import annotations

import pytest

from tests.matrix.runner import run
from tests.matrix.table import CHOSEN, COMBINATIONS


@pytest.mark.parametrize("name", CHOSEN)
def test_every_promise_holds(warm: None, name: str) -> None:
    assert not run(COMBINATIONS[name]).broken
