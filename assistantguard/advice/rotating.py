"""When threads should leave their conversation."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from assistantguard.advice.bill import Change
from assistantguard.advice.carrying import SizeCarrier
from assistantguard.advice.making import is_worth_it, make
from assistantguard.policies import ThreadRotation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistantguard.advice.bill import Reckoner
    from assistantguard.advice.values import Suggestion

__all__ = ["rotation"]

_SETTINGS: tuple[tuple[str, ThreadRotation], ...] = (
    ("ThreadRotation()", ThreadRotation()),
    *((f"ThreadRotation({turns})", ThreadRotation(turns)) for turns in (6, 10, 15, 30)),
    *(
        (f"ThreadRotation(max_history_tokens={tokens:_})", ThreadRotation(max_history_tokens=tokens))
        for tokens in (6_000, 12_000)
    ),
)
_LEAST_ESTIMATED = Decimal("0.1")
"""Where what is carried over is estimated, its error is a large part of what saves less of the bill."""
_BETTER_BY = Decimal("0.03")
"""Another setting than the default must save so much more of the bill."""


def rotation(reckoner: Reckoner) -> Iterator[Suggestion]:
    """The default rotation, or the setting that is clearly cheaper."""
    some = reckoner.sample()
    trials = [(reckoner.reckon(Change(rotation=rule), some).cost, text, rule) for text, rule in _SETTINGS]
    known = [(cost, text, rule) for cost, text, rule in trials if cost is not None]
    before = reckoner.reckon(Change(), some).cost
    if before is None or not known:
        return
    default, best = known[0], min(known, key=lambda trial: trial[0])
    _, text, rule = best if default[0] - best[0] > _BETTER_BY * before else default
    change = Change(rotation=rule)
    reckoned = reckoner.reckon(change)
    saving = reckoner.saving(change)
    sizes_only = any(isinstance(thread.carrier, SizeCarrier) for thread in reckoner.threads)
    if saving is None or not reckoned.rotations or not is_worth_it(reckoner, saving):
        return
    if sizes_only and saving < _LEAST_ESTIMATED * reckoner.booked:
        reckoner.history.notes[
            "other rotation settings that may save up to a tenth: too little to tell from sizes"
        ] += 1
        return
    history = reckoner.history
    densities = history.densities if sizes_only else ()
    if not sizes_only:
        source, between = "What is carried over was built from the texts.", ""
    elif history.rotations_seen:
        source = f"What is carried over is estimated from {history.rotations_seen:,} rotations that happened."
        between = "their least and most dense tenth"
    else:
        source = "What is carried over is estimated from sizes alone."
        between = "digests as dense as the least and the most dense on recorded conversations"
    yield make(
        reckoner,
        "rotation",
        saving,
        title="Leave conversations before re-reading them costs more than it is worth."
        if not reckoner.as_it_was.rotations
        else "Leave conversations at another point than now.",
        setting=text,
        method=f"Every call is billed anew on the context that it would have had. {source}",
        evidence=f"{reckoned.rotations:,} rotations in place of {reckoner.as_it_was.rotations:,}; of what calls read,"
        f" {reckoner.reread_share:.0%} had been read before. `assistantguard replay` measures what it forgets",
        sureness="estimated" if sizes_only else "reckoned",
        variants=[
            *(reckoner.saving(Change(rotation=rule, density=density)) for density in densities),
            *reckoner.variants(change),
        ],
        between=between,
    )
