"""What a model call used, in tokens."""

from __future__ import annotations

from dataclasses import dataclass

from assistantguard.models.values import Value

__all__ = ["Usage"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Usage(Value):
    """Tokens that were billed, in the field names of the Responses API. Add two with ``+``."""

    input_tokens: int = 0
    """All tokens that were read, cached ones and cache writes included."""
    cached_tokens: int = 0
    """The part of `input_tokens` that was read from the prompt cache."""
    cache_write_tokens: int = 0
    """The part of `input_tokens` that was written to the prompt cache (billed above input from GPT-5.6 on)."""
    output_tokens: int = 0
    """All tokens that were written, reasoning included."""
    reasoning_tokens: int = 0
    """The part of `output_tokens` that was reasoning."""
    estimated_tokens: int = 0
    """The part of `total_tokens` that the server did not report and that we estimated. Unknown is not zero."""
    requests: int = 0
    """How many model calls this adds up."""

    @property
    def total_tokens(self) -> int:
        """Input and output together: what a token cap counts."""
        return self.input_tokens + self.output_tokens

    @property
    def estimated(self) -> bool:
        """Whether any of it is an estimate."""
        return self.estimated_tokens > 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated_tokens + other.estimated_tokens,
            self.requests + other.requests,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens - other.input_tokens,
            self.cached_tokens - other.cached_tokens,
            self.cache_write_tokens - other.cache_write_tokens,
            self.output_tokens - other.output_tokens,
            self.reasoning_tokens - other.reasoning_tokens,
            self.estimated_tokens - other.estimated_tokens,
            self.requests - other.requests,
        )
