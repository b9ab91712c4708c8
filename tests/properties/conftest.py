"""How hard hypothesis looks: the same few examples each time by default, many new ones with HYPOTHESIS_PROFILE=ci."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from assistantguard import tokens

_UNHURRIED = [HealthCheck.too_slow]
settings.register_profile(
    "default", deadline=None, max_examples=100, derandomize=True, suppress_health_check=_UNHURRIED
)
settings.register_profile("ci", deadline=None, max_examples=200, suppress_health_check=_UNHURRIED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session", autouse=True)
def vocabulary() -> None:
    """Counts are the same from the first test to the last."""
    assert tokens.wait_until_ready(60)
