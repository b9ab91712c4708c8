"""How much a rotation carries: see `assistantguard.models.carry_over`."""

from __future__ import annotations

from assistantguard.models.carry_over import MIN_DIGEST_TOKENS, CarryOver

__all__ = ["MIN_DIGEST_TOKENS", "CarryOver"]
