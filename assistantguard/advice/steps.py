"""How many tool steps a run needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistantguard.advice.bill import Change
from assistantguard.advice.making import make
from assistantguard.reports.tally import StepCounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistantguard.advice.bill import Reckoner
    from assistantguard.advice.values import Suggestion

__all__ = ["step_ceiling"]

_LEAST_RUNS = 20


def step_ceiling(reckoner: Reckoner) -> Iterator[Suggestion]:
    """A ceiling at the p99 and two more, where runs use tools."""
    counts = StepCounts()
    stopped = 0
    for thread in reckoner.threads:
        for turn in thread.turns:
            if turn.calls:
                counts.counts[turn.steps] += 1
                stopped += turn.stopped
    runs = sum(counts.counts.values())
    ceiling = counts.suggested_ceiling
    if ceiling is None or runs < _LEAST_RUNS or not any(counts.counts.keys() - {0}):
        return
    change = Change(ceiling=ceiling)
    ended = reckoner.reckon(change).stops
    saving = reckoner.saving(change)
    if saving is None:
        return
    evidence = (
        f"{runs:,} runs: half took {counts.percentile(50)} steps or fewer, 99 % {counts.percentile(99)} or fewer, the"
        f" longest {max(counts.counts)}; {ended:,} would have been ended"
    )
    if stopped:
        evidence += f"; {stopped:,} were ended by the ceiling that is in force"
    yield make(
        reckoner,
        "step_ceiling",
        saving,
        title=f"End runs after {ceiling} tool steps: no run that goes well needs more, and a spiral costs no more.",
        setting=f"ToolStepCeiling({ceiling})",
        method="Calls beyond the ceiling are taken out of the bill, and what they added to the context out of later"
        " calls.",
        evidence=evidence,
        variants=reckoner.variants(change),
    )
