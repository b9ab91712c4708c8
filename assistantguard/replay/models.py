"""Which model a recording is played with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistantguard.errors import ConfigurationError
from assistantguard.prices import PriceBook

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DEFAULT_MODEL", "model_chooser"]

DEFAULT_MODEL = "gpt-6-luna"


def model_chooser(model: str | None = None) -> Callable[[str | None], str]:
    """Return a function from the recorded model to the one that is played.

    Args:
        model: Played for every recording. None plays the recorded model where it has a known price, else
            gpt-6-luna.

    Raises:
        ConfigurationError: `model` has no known price.
    """
    prices = PriceBook()
    if model is not None and prices.price(model) is None:
        raise ConfigurationError(
            f"model is {model!r}, which has no known price, so nothing could be compared: name another,"
            f" for example {DEFAULT_MODEL!r}"
        )

    def choose(recorded: str | None) -> str:
        if model is not None:
            return model
        return recorded if recorded is not None and prices.price(recorded) is not None else DEFAULT_MODEL

    return choose
