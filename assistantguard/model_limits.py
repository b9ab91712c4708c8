"""What is known of models by their names: the largest output that a request may name, and what else they accept.

The figures are the "max output tokens" of OpenAI's model pages. Asking for more than a model writes is an error (400),
so unknown names get a figure that every current model accepts.
"""

from __future__ import annotations

import re

__all__ = ["DEFAULT_OUTPUT_TOKENS", "largest_output", "takes_effort"]

DEFAULT_OUTPUT_TOKENS = 32_768
"""What a request asks for at most when a cap is on and the assistant names no `max_output_tokens`."""

_LARGEST: tuple[tuple[str, int], ...] = (
    (r"gpt-4o", 16_384),
    (r"gpt-4\.1", 32_768),
    (r"(gpt-4|gpt-3\.5)", 4_096),
    (r"(o\d|gpt-[5-9])", 100_000),
)
_UNKNOWN = 16_384


def largest_output(model: str) -> int:
    """Tokens that one request for `model` may ask for, at most `DEFAULT_OUTPUT_TOKENS`."""
    name = model.removeprefix("ft:")
    for pattern, tokens in _LARGEST:
        if re.match(pattern, name):
            return min(tokens, DEFAULT_OUTPUT_TOKENS)
    return _UNKNOWN


def takes_effort(model: str) -> bool:
    """Whether a request for `model` may name a reasoning effort. Unknown models are taken to accept one."""
    return re.match(r"(ft:)?(chatgpt-4|gpt-4|gpt-3\.5|gpt-5-chat)", model) is None
