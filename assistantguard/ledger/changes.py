"""What a hold's beginning or end does to accounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING

from assistantguard.ledger import statements

if TYPE_CHECKING:
    from assistantguard.storage import Database, Transaction
    from assistantguard.storage.database import Row

__all__ = ["Change", "Changes"]

Change = tuple[str, str, int, int, "int | None"]
"""Account, metric, what is to be added to committed and to held, and until which day the account is needed."""


class Changes:
    """What is to be added to accounts: to each once, and in the order of their names."""

    def __init__(self, changes: Iterable[Change]) -> None:
        merged: dict[tuple[str, str], Change] = {}
        for change in changes:
            key = change[:2]
            merged[key] = _sum(merged[key], change) if key in merged else change
        self.rows = sorted(merged.values(), key=itemgetter(0, 1))

    def parameters(self) -> list[object]:
        """What `statements.add_to` takes."""
        return list(chain.from_iterable(self.rows))

    def apply(self, transaction: Transaction) -> Sequence[Row]:
        """Add them; return the accounts as they are afterwards."""
        if not self.rows:
            return ()
        return self._keep(transaction, transaction.execute(statements.add_to(len(self.rows)), self.parameters()))

    def apply_with_hold(self, transaction: Transaction, hold: tuple[object, ...]) -> Sequence[Row] | None:
        """Add them and make their hold; return None where there is one of that name already."""
        if transaction.writes_in_with and self.rows:
            statement = statements.hold_and_add(len(self.rows))
            return self._keep(transaction, transaction.execute(statement, (*hold, *self.parameters()))) or None
        return self.apply(transaction) if transaction.execute(statements.NEW_HOLD, hold) else None

    def hold_if_it_fits(
        self, database: Database, hold: tuple[object, ...], limits: Mapping[tuple[str, str], int]
    ) -> bool:
        """Add them and make their hold in one statement, where everything fits; see `statements.hold_if_it_fits`."""
        parameters: list[object] = []
        for account, metric, _, held, day in self.rows:
            parameters += (account, metric, held, day, limits.get((account, metric)))
        statement = statements.hold_if_it_fits(len(self.rows))
        rows = database.execute(statement, (*parameters, *hold, len(limits)))
        self._keep(database, rows)
        return bool(rows)

    def _keep(self, transaction: Transaction | Database, rows: Sequence[Row]) -> Sequence[Row]:
        """Have accounts kept for as long as they are needed now."""
        wanted = {change[:2]: change[4] for change in self.rows if change[4] is not None}
        for account, metric, _, _, day in rows if wanted else ():
            last = wanted.get((account, metric))
            if last is not None and (day is None or day < last):  # about once a day
                transaction.execute(statements.NEEDED_LONGER, (last, account, metric))
        return rows


def _sum(one: Change, other: Change) -> Change:
    account, metric, committed, held, day = one
    days = [each for each in (day, other[4]) if each is not None]
    return (account, metric, committed + other[2], held + other[3], max(days, default=None))
