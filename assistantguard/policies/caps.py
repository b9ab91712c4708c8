"""What a session or a run may spend at all."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from assistantguard.errors import ConfigurationError
from assistantguard.policies.base import Cap, Counting, Decision, Limit, Metric, Policy, View
from assistantguard.policies.checks import at_least, dollars, one_of

if TYPE_CHECKING:
    from assistantguard.models import Assistant
    from assistantguard.prices import PriceBook

__all__ = ["CostCap", "TokenCap", "check_priced"]

_LEAST_TOKENS = 32
"""A request reads at least something and may not ask for fewer than 16 output tokens."""


class _SpendingCap(Policy):
    """Caps on the session's and the run's accounts. A request that does not fit is refused before it is sent."""

    def __init__(
        self, caps: tuple[Decimal | None, Decimal | None], counting: Counting, wait: float, metric: Metric
    ) -> None:
        self._session, self._run = caps
        self._metric: Metric = metric
        name = type(self).__name__
        one_of(f"{name} counting", counting, ("near", "always", "never"))
        self.counting: Counting = counting
        self.wait = at_least(f"{name} wait", float(wait), 0.0) or 0.0
        if self._session is None and self._run is None:
            raise ConfigurationError(
                f"{name} has neither session nor run, so it caps nothing: give one, or leave it out"
            )

    def before_request(self, view: View) -> Decision | None:
        """Name the caps; the ledger holds them."""
        return Limit("spending is capped", caps=self.caps(view), counting=self.counting, busy_wait=self.wait)

    def caps(self, view: View) -> tuple[Cap, ...]:
        """The caps on the accounts of a view's session and run."""
        caps: tuple[Cap, ...] = ()
        if self._session is not None:
            caps = (Cap(view.session_account, self._metric, self._session),)
        if self._run is not None:
            caps = (*caps, Cap(view.run_account, self._metric, self._run))
        return caps


class TokenCap(_SpendingCap):
    """At most so many tokens, input and output together, cached ones included.

    Before each request its input is estimated (exactly counted by the API when a cap is near), reserved together with
    the largest output, and `max_output_tokens` is lowered to what is left. Nothing is sent that could pass the cap.

    Args:
        session: Tokens over the guard's lifetime; None leaves them open.
        run: Tokens in one run; None leaves them open.
        counting: When the API is asked for the exact input count: ``"near"`` a cap, ``"always"``, or ``"never"``
            (then the surest local bound counts, which refuses a little early).
        wait: Seconds to wait while requests in flight hold what is needed, before `BudgetBusy` is raised.

    Raises:
        ConfigurationError: A cap is below 32 tokens, or none is given.
    """

    def __init__(
        self,
        session: int | None = None,
        run: int | None = None,
        *,
        counting: Counting = "near",
        wait: float = 10.0,
    ) -> None:
        self.session = at_least("TokenCap session", session, _LEAST_TOKENS)
        self.run = at_least("TokenCap run", run, _LEAST_TOKENS)
        super().__init__(
            (None if session is None else Decimal(session), None if run is None else Decimal(run)),
            counting,
            wait,
            "tokens",
        )


class CostCap(_SpendingCap):
    """At most so many US dollars. Works as `TokenCap`, with each request priced at the dearest it can be.

    Args:
        session: US dollars over the guard's lifetime; None leaves them open.
        run: US dollars in one run; None leaves them open.
        counting: As for `TokenCap`.
        wait: As for `TokenCap`.

    Raises:
        ConfigurationError: An amount is not above zero, none is given, or (when the guard is built) the model has
            no known price.
    """

    def __init__(
        self,
        session: Decimal | float | str | None = None,
        run: Decimal | float | str | None = None,
        *,
        counting: Counting = "near",
        wait: float = 10.0,
    ) -> None:
        self.session = dollars("CostCap session", session)
        self.run = dollars("CostCap run", run)
        super().__init__((self.session, self.run), counting, wait, "cost")

    def check(self, assistant: Assistant, prices: PriceBook) -> None:
        """Refuse a model without a price: a dollar cap on it would be silently off."""
        check_priced("CostCap", assistant, prices)


def check_priced(name: str, assistant: Assistant, prices: PriceBook) -> None:
    """Check that the assistant's model has a price, without which dollars cannot be limited.

    Raises:
        ConfigurationError: It has none.
    """
    if prices.price(assistant.model, assistant.service_tier) is None:
        tier = f" at service tier {assistant.service_tier!r}" if assistant.service_tier else ""
        raise ConfigurationError(
            f"{name} cannot price the model {assistant.model!r}{tier}: give its price,"
            f" prices={{{assistant.model!r}: Price(input='…', output='…')}}, or limit tokens instead"
        )
