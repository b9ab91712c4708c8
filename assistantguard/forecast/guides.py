"""The scenarios of cost guides, each with the assumption that it is computed under."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from assistantguard.errors import ConfigurationError
from assistantguard.forecast.assumptions import Assumptions, assumptions_of
from assistantguard.forecast.waves import Wave, wave_of
from assistantguard.models.values import Value

__all__ = ["Scenario", "scenario", "scenarios"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Scenario(Value):
    """An example."""

    name: str
    title: str
    assumption: str
    """What it is computed under, in words."""
    guides: str
    """What guides on the web get wrong with it."""
    subject: Assumptions | Wave
    """What to forecast, or what comes at once."""


@lru_cache(maxsize=1)
def scenarios() -> tuple[Scenario, ...]:
    """Every scenario."""
    text = resources.files("assistantguard.forecast").joinpath("scenarios.json").read_text(encoding="utf-8")
    found = []
    for row in json.loads(text):
        wave = row.get("wave")
        subject = assumptions_of(row["assumptions"], row["name"]) if wave is None else wave_of(wave, row["name"])
        found.append(Scenario(row["name"], row["title"], row["assumption"], row["guides"], subject))
    return tuple(found)


def scenario(name: str) -> Scenario:
    """The scenario of a name.

    Raises:
        ConfigurationError: There is none.
    """
    for each in scenarios():
        if each.name == name:
            return each
    names = ", ".join(each.name for each in scenarios())
    raise ConfigurationError(f"there is no scenario {name[:60]!r}: the scenarios are {names}")
