"""The published rate limits of OpenAI's usage tiers, by model.

Source: the section "Rate limits" of each model's page, https://developers.openai.com/api/docs/models, in autumn
2026.
An account's own limits may differ; the ``x-ratelimit-*`` headers tell them, and `Pacing` keeps to the lower ones.
"""

from __future__ import annotations

import re

from assistantguard.errors import ConfigurationError

__all__ = ["TIERS", "published", "published_queue"]

TIERS = ("1", "2", "3", "4", "5")

_FLAGSHIP = (
    (500, 500_000, 1_500_000),
    (5_000, 1_000_000, 3_000_000),
    (5_000, 2_000_000, 100_000_000),
    (10_000, 4_000_000, 200_000_000),
    (15_000, 40_000_000, 15_000_000_000),
)
_SMALL = (
    (500, 500_000, 5_000_000),
    (5_000, 2_000_000, 20_000_000),
    (5_000, 4_000_000, 40_000_000),
    (10_000, 10_000_000, 1_000_000_000),
    (30_000, 180_000_000, 15_000_000_000),
)
_NANO = ((500, 200_000, 2_000_000), *_SMALL[1:])
_FORMER = (
    (500, 30_000, 90_000),
    (5_000, 450_000, 1_350_000),
    (5_000, 800_000, 50_000_000),
    (10_000, 2_000_000, 200_000_000),
    (10_000, 30_000_000, 5_000_000_000),
)
_FORMER_SMALL = (*_NANO[:4], (30_000, 150_000_000, 15_000_000_000))
_O3_MINI = ((1_000, 100_000, 1_000_000), (2_000, 200_000, 2_000_000), *_FORMER_SMALL[2:])
"""For each tier: requests a minute, tokens a minute, and input tokens that the Batch API may have queued."""

_PUBLISHED = {
    "gpt-6-sol": _FLAGSHIP,
    "gpt-6-luna": _SMALL,
    "gpt-5.6-sol": _FLAGSHIP,
    "gpt-5.6-luna": _SMALL,
    "gpt-5.5": _FLAGSHIP,
    "gpt-5.4": _FLAGSHIP,
    "gpt-5.4-mini": _SMALL,
    "gpt-5.2-codex": _FLAGSHIP,
    "gpt-5.2-pro": _FORMER,
    "gpt-5.1-codex-mini": _SMALL,
    "gpt-5-pro": _FORMER,
    "gpt-5-mini": _SMALL,
    "gpt-5-nano": _NANO,
    "gpt-4.1": _FORMER,
    "gpt-4o": _FORMER,
    "gpt-4o-mini": _FORMER_SMALL,
    "o1-pro": _FORMER,
    "o3-pro": _FORMER,
    "o3-mini": _O3_MINI,
}
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def published(tier: str, model: str) -> tuple[int, int]:
    """Requests and tokens that a tier allows a model in a minute.

    Args:
        tier: ``"1"`` to ``"5"``.
        model: A model's name, or that of one of its snapshots.

    Raises:
        ConfigurationError: No limits of the model are known here.
    """
    requests, tokens, _ = _limits(tier, model)
    return requests, tokens


def published_queue(tier: str, model: str) -> int:
    """Input tokens that the Batch API may have queued for a model. See `published`.

    Raises:
        ConfigurationError: No limits of the model are known here.
    """
    return _limits(tier, model)[2]


def _limits(tier: str, model: str) -> tuple[int, int, int]:
    limits = _PUBLISHED.get(_SNAPSHOT.sub("", model))
    if limits is None:
        raise ConfigurationError(
            f"no rate limits of the model {model!r} are known for the tier {tier!r}: give Pacing its"
            " requests_per_minute and tokens_per_minute, from the account's page Limits; known are"
            f" {', '.join(_PUBLISHED)}"
        )
    return limits[TIERS.index(tier)]
