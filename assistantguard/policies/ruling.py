"""Asking several policies at a checkpoint and combining what they want."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from assistantguard.errors import ConfigurationError
from assistantguard.models.values import Record
from assistantguard.policies.base import Cap, Counting, Decision, Limit, Policy, View

if TYPE_CHECKING:
    from assistantguard.models import Assistant
    from assistantguard.policies.budget import Budget
    from assistantguard.policies.pacing import Pace
    from assistantguard.policies.route import Route
    from assistantguard.prices import PriceBook

__all__ = ["Checkpoint", "Observation", "Observed", "PlacedCap", "PlacedPace", "PolicySet", "Ruling", "observe"]

Checkpoint = Literal["route", "before_turn", "before_request", "on_progress", "on_step", "on_failure", "on_files"]
_CHECKPOINTS: tuple[Checkpoint, ...] = get_args(Checkpoint)
_COUNTING: dict[Counting, int] = {"never": 0, "near": 1, "always": 2}


class Observed(Policy):
    """A policy that decides and reports, and is not enforced. Made by `observe`."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.keeps_replies = policy.keeps_replies

    @property
    def name(self) -> str:
        """The inner policy's name."""
        return self.policy.name

    @property
    def routes(self) -> Sequence[Route]:
        """The inner policy's."""
        return self.policy.routes

    def check(self, assistant: Assistant, prices: PriceBook) -> None:
        """As the inner policy does: one that cannot work would observe nothing."""
        self.policy.check(assistant, prices)


def observe(policy: Policy) -> Policy:
    """Let `policy` report what it would have done (``policy.observed`` events) without being enforced.

    Raises:
        ConfigurationError: `policy` is not a `Policy`.
    """
    if not isinstance(policy, Policy):
        raise ConfigurationError(
            f"observe() got {policy!r}: give it a policy, for example observe(TokenCap(session=1))"
        )
    return policy if isinstance(policy, Observed) else Observed(policy)


@dataclass(slots=True, eq=False, repr=False)
class PlacedCap(Record):
    """A cap, the policy it came from, and whether it is only observed."""

    cap: Cap
    policy: str
    observed: bool


@dataclass(slots=True, eq=False, repr=False)
class PlacedPace(Record):
    """A rate to keep to, the policy it came from, and whether it is only observed."""

    pace: Pace
    policy: str
    observed: bool


@dataclass(slots=True, eq=False, repr=False)
class Observation(Record):
    """What an observed policy wanted."""

    policy: str
    decision: Decision


@dataclass(slots=True, eq=False, repr=False)
class Ruling(Record):
    """What all policies together want at a checkpoint."""

    decision: Decision | None = None
    """The strongest decision other than a limit; among equals the first."""
    policy: str = ""
    """Who decided it."""
    caps: tuple[PlacedCap, ...] = ()
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    counting: Counting = "near"
    busy_wait: float = 0.0
    observed: tuple[Observation, ...] = ()
    paces: tuple[PlacedPace, ...] = ()


_NOTHING = Ruling()


class PolicySet:
    """The policies of a guard, in the order given."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        self.policies: Sequence[Policy] = tuple(policies)
        for policy in self.policies:
            if not isinstance(policy, Policy):
                raise ConfigurationError(
                    f"policies has {policy!r}, which is no policy: give an instance of a Policy subclass,"
                    " for example ToolStepCeiling(5)"
                )
        self.budgets = _budgets(self.policies)
        """Those among them that are budgets, each with whether it is only observed."""
        self._asked = {
            checkpoint: tuple(
                (policy, _inner(policy), isinstance(policy, Observed))
                for policy in self.policies
                if _overrides(_inner(policy), checkpoint)
            )
            for checkpoint in _CHECKPOINTS
        }

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes that the policies name."""
        return tuple(route for policy in self.policies for route in policy.routes)

    def check(self, assistant: Assistant, prices: PriceBook) -> None:
        """Check every policy with the assistant, and with what the routes make of it.

        Raises:
            ConfigurationError: A policy cannot work with one of them.
        """
        routed = [
            replace(
                assistant,
                model=route.model or assistant.model,
                service_tier=route.service_tier or assistant.service_tier,
            )
            for route in self.routes
        ]
        for policy in self.policies:
            for one in (assistant, *routed):
                policy.check(one, prices)

    def asks(self, checkpoint: Checkpoint) -> bool:
        """Whether any policy cares about this checkpoint."""
        return bool(self._asked[checkpoint])

    def who_asks(self, checkpoint: Checkpoint) -> Sequence[str]:
        """The names of the policies that care about this checkpoint, and are enforced."""
        return [policy.name for policy, _inner, is_observed in self._asked[checkpoint] if not is_observed]

    @property
    def may_rotate(self) -> bool:
        """Whether a policy may want to leave a generation: one that is asked before a turn, and is no budget."""
        budgets = [budget for budget, _is_observed in self.budgets]
        return any(inner not in budgets for _policy, inner, _is_observed in self._asked["before_turn"])

    def rule(self, checkpoint: Checkpoint, view: View) -> Ruling:
        """Ask every policy that overrides `checkpoint` and combine the answers."""
        asked = self._asked[checkpoint]
        if not asked:
            return _NOTHING
        chosen: Decision | None = None
        chooser = ""
        limits: list[Limit] = []
        caps: list[PlacedCap] = []
        paces: list[PlacedPace] = []
        observed: list[Observation] = []
        for policy, inner, is_observed in asked:
            decision: Decision | None = getattr(inner, checkpoint)(view)
            if decision is None:
                continue
            if isinstance(decision, Limit):
                caps += [PlacedCap(cap, policy.name, is_observed) for cap in decision.caps]
                paces += [PlacedPace(pace, policy.name, is_observed) for pace in decision.paces]
                if not is_observed:
                    limits.append(decision)
            elif is_observed:
                observed.append(Observation(policy.name, decision))
            elif chosen is None or decision.strength > chosen.strength:
                chosen, chooser = decision, policy.name
        return Ruling(
            chosen,
            chooser,
            tuple(caps),
            _least(limit.max_output_tokens for limit in limits),
            _least(limit.max_tool_calls for limit in limits),
            max((limit.counting for limit in limits), key=_COUNTING.__getitem__) if limits else "near",
            max((limit.busy_wait for limit in limits), default=0.0),
            tuple(observed),
            tuple(paces),
        )


def _budgets(policies: Sequence[Policy]) -> tuple[tuple[Budget, bool], ...]:
    from assistantguard.policies.budget import Budget, check_distinct

    found = tuple((inner, inner is not policy) for policy in policies if isinstance(inner := _inner(policy), Budget))
    check_distinct(budget for budget, _is_observed in found)
    return found


def _inner(policy: Policy) -> Policy:
    return policy.policy if isinstance(policy, Observed) else policy


def _overrides(policy: Policy, checkpoint: Checkpoint) -> bool:
    return getattr(type(policy), checkpoint) is not getattr(Policy, checkpoint)


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)
