"""What the ledger in memory does of its own."""

from __future__ import annotations

from assistantguard import MemoryLedger
from tests.ledger.books import claim, entry, tokens


def test_old_rows_may_go_but_balances_stay() -> None:
    ledger = MemoryLedger(keep_entries=2)
    for number in range(5):
        ledger.reserve(f"h{number}", [claim(10)], 99.0)
        ledger.commit(f"h{number}", entry(7, run_id=str(number)))
    assert [row.run_id for row in ledger.entries()] == ["3", "4"]
    assert tokens(ledger) == (35, 0)
