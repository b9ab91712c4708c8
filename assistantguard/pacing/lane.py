"""Who may send, and when: the rule, without I/O and without a clock of its own.

A lane is what shares one rate limit, such as all requests to one model. Requests wait in it in a fair order: each
account's requests are set one after another by what they use, and beside those of the other accounts (start-time fair
queueing: Goyal, Vin and Cheng, 1996). An account that has had no more than its share goes before those of the same
round, as long as such accounts take no more than half of what is sent. Nobody is passed for ever: a place in the order
never changes, and with every request that is sent the place of who comes next moves on.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import Any

from assistantguard.models.rates import RatesTold
from assistantguard.models.values import Record
from assistantguard.pacing.terms import Ask, Limits, NoRoom, Permit
from assistantguard.pacing.window import MINUTE, Window

__all__ = ["Lane"]

_PROBES = 8
"""How many requests may be in flight while nothing is known of a server's limits."""
_HEAD_START = 10.0
"""Seconds of a lane's whole allowance that one step of priority is worth."""
_LEAD = 1.0
"""Tokens by which a place is before those of its round."""
_FIRST_OUTPUT = 500
_SMOOTHING = 0.2
_SHARE = 50
"""An answer of unknown length is first held at one part of so many of a minute's tokens."""
_GONE = 10.0
"""Seconds without a sign of life after which a process that waits is taken to be dead."""
_SHORTEST_LOOK, _LONGEST_LOOK = 0.005, 0.25
_LEAST_PACE = 0.1
_REFUSED, _OVERLOADED = (0.8, 0.1 / 60), (0.5, 0.5 / 900)
"""What the pace is multiplied by, and how much of it comes back each second. After a 503 the API asks for a lower rate
for a quarter of an hour: https://developers.openai.com/api/docs/guides/error-codes"""
_MOST_TAGS = 10_000


@dataclass(slots=True, eq=False, repr=False)
class _Ticket(Record):
    """A place in the order."""

    place: float
    joined: int
    id: str
    owner: str
    start: float
    input_tokens: int
    output_at_most: int


class Lane:
    """What shares one rate limit. Not safe to use from several threads at once: see `Lanes`.

    Args:
        document: What `document` of another lane gave.
    """

    def __init__(self, document: dict[str, Any] | None = None) -> None:
        kept = document or {}
        self._window = Window(kept.get("window"))
        self._others = Window(kept.get("others"))
        """What counts at the server beside that: of others under the same limit, and what it does not give back."""
        self._limits = Limits(*kept.get("limits", ()))
        self._bursts = Window(kept.get("bursts"))
        """What was sent at once, ahead of its time."""
        self._steady_at: float = kept.get("steady_at", 0.0)
        """When the next request may be sent in its time."""
        self._told = Limits(*kept.get("told", ()))
        self._silent: bool = kept.get("silent", False)
        """Whether the server answers without telling its limits."""
        self._probes: int = kept.get("probes", 0)
        self._counts_bound: bool = kept.get("counts_bound", False)
        """Whether the server counts the whole output that a request allows, not what it came to."""
        self._output: float = kept.get("output", _FIRST_OUTPUT)
        """How many tokens an answer has, lately."""
        self._pace: float = kept.get("pace", 1.0)
        self._paced_at: float = kept.get("paced_at", 0.0)
        self._gain: float = kept.get("gain", 0.0)
        self._blocked_until: float = kept.get("blocked_until", 0.0)
        self._round: float = kept.get("round", 0.0)
        """The furthest place that was served; who waits without a priority has none before it."""
        self._virtual: float = kept.get("virtual", 0.0)
        """The place of an account that comes now."""
        self._lead: float = kept.get("lead", 0.0)
        """Tokens for which accounts that had no more than their share may still go before the others of a round."""
        self._joined: int = kept.get("joined", 0)
        self._tags: dict[str, float] = kept.get("tags", {})
        self._seen: dict[str, float] = kept.get("seen", {})
        self._waiting = [_Ticket(*values) for values in kept.get("waiting", ())]
        self._granted: dict[str, list[Any]] = kept.get("granted", {})
        """Of requests that waited: owner, time, number and tokens, until the owner comes for them."""

    def document(self) -> dict[str, Any]:
        """The lane as a JSON object."""
        return {
            "window": self._window.parts,
            "others": self._others.parts,
            "limits": [self._limits.requests, self._limits.tokens, self._limits.burst],
            "bursts": self._bursts.parts,
            "steady_at": self._steady_at,
            "told": [self._told.requests, self._told.tokens],
            "silent": self._silent,
            "probes": self._probes,
            "counts_bound": self._counts_bound,
            "output": self._output,
            "pace": self._pace,
            "paced_at": self._paced_at,
            "gain": self._gain,
            "blocked_until": self._blocked_until,
            "round": self._round,
            "virtual": self._virtual,
            "lead": self._lead,
            "joined": self._joined,
            "tags": self._tags,
            "seen": self._seen,
            "waiting": [
                [each.place, each.joined, each.id, each.owner, each.start, each.input_tokens, each.output_at_most]
                for each in self._waiting
            ],
            "granted": self._granted,
        }

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def limits(self, now: float) -> Limits:
        """What is allowed in a minute at present: what was set, what the server told, and the pace that it bears."""
        return self._paced(self._full(), now)

    def ask(self, ask: Ask, limits: Limits, most_waiting: int | None, now: float) -> Permit | float | NoRoom:
        """Ask to send a request: at once, or in its turn. A number is the seconds after which to look again.

        Args:
            ask: The request.
            limits: What the application says is allowed.
            most_waiting: How many may wait; None sets no limit.
            now: Unix time, seconds.
        """
        self._limits = limits
        self._roll(now)
        self._seen[ask.owner] = now
        allowed = self.limits(now)
        need = self._need(ask.input_tokens, ask.output_at_most, allowed)
        most = self._full().tokens
        if most is not None and ask.input_tokens >= most:
            return NoRoom(None, f"it reads about {ask.input_tokens} tokens, and a minute allows {most}")
        ticket = self._ticket(ask, need, allowed)
        if not self._waiting and self._fits(need, allowed, now):
            self._tags[ask.account] = ticket.start + need
            return self._grant(ticket, need, allowed, now)
        place = bisect.bisect(self._waiting, (ticket.place, ticket.joined), key=_order)
        available_at = self._available_at(place, need, allowed, now)
        if most_waiting is not None and len(self._waiting) >= most_waiting:
            return NoRoom(available_at, f"{len(self._waiting)} requests wait already, and {most_waiting} may")
        if available_at > ask.until:
            return NoRoom(available_at, f"its turn would come in {available_at - now:.0f} s")
        self._waiting.insert(place, ticket)
        self._tags[ask.account] = ticket.start + need
        return self._pause(allowed, now)

    def observe(self, ask: Ask, limits: Limits, now: float) -> tuple[Permit, float]:
        """Let a request pass whatever it needs; return when its turn would have come, too."""
        self._limits = limits
        self._roll(now)
        allowed = self.limits(now)
        need = self._need(ask.input_tokens, ask.output_at_most, allowed)
        available_at = now if self._fits(need, allowed, now) else self._available_at(0, need, allowed, now)
        return self._grant(self._ticket(ask, need, allowed), need, allowed, now), available_at

    def collect(self, owner: str, now: float) -> tuple[dict[str, Permit], float]:
        """What the requests of a process that waited may be sent by now, and when to look again for the others."""
        self._roll(now)
        self._seen[owner] = now
        self._advance(now)
        mine = {id_: Permit(number, tokens) for id_, (its, _, number, tokens) in self._granted.items() if its == owner}
        for id_ in mine:
            del self._granted[id_]
        return mine, self._pause(self.limits(now), now)

    def holds(self, ticket_id: str) -> bool:
        """Whether a request has a place in the order."""
        return ticket_id in self._granted or any(each.id == ticket_id for each in self._waiting)

    def leave(self, ticket_id: str, now: float) -> float | None:
        """Give up a request that waits; return when its turn would have come, or None where that is not known."""
        self._roll(now)
        granted = self._granted.pop(ticket_id, None)
        if granted is not None:
            self.give_back(Permit(granted[2], granted[3]))
            return now
        place = next((place for place, each in enumerate(self._waiting) if each.id == ticket_id), None)
        if place is None:
            return None
        ticket, allowed = self._waiting.pop(place), self.limits(now)
        need = self._need(ticket.input_tokens, ticket.output_at_most, allowed)
        return self._available_at(place, need, allowed, now)

    def give_back(self, permit: Permit) -> None:
        """A request was not sent after all."""
        self._window.correct(permit.number, -permit.tokens, -1)
        self._probes = max(0, self._probes - 1)

    def settle(
        self, permit: Permit, used_tokens: int | None, output_tokens: int | None, told: RatesTold | None, now: float
    ) -> None:
        """A request was answered: what it did not use is free again, and what the server told counts.

        Args:
            permit: What it was sent by.
            used_tokens: Input and output; None where it is not known, which leaves what was held.
            output_tokens: Of these, output; None where it is not known.
            told: What the server told with the answer.
            now: Unix time, seconds.
        """
        self._roll(now)
        self._probes = max(0, self._probes - 1)
        if used_tokens is not None:
            self._window.correct(permit.number, used_tokens - permit.tokens, 0)
        if output_tokens is not None:
            self._output += _SMOOTHING * (output_tokens - self._output)
        if told is None or (told.requests is None and told.tokens is None):
            self._silent = self._told == Limits()
        else:
            self._learn(told, now)
        self._advance(now)

    def refused(
        self, permit: Permit, retry_after: float | None, told: RatesTold | None, now: float, *, overloaded: bool
    ) -> None:
        """The server refused a request for its rate (429), or since it is overloaded (503): go slower for a while."""
        self._roll(now)
        self._probes = max(0, self._probes - 1)
        self._window.correct(permit.number, -permit.tokens, 0)
        knew = self._full() != Limits()
        if told is not None:
            if told.tokens_counted is not None and told.tokens_counted > permit.tokens:
                self._counts_bound, knew = True, False
            self._learn(told, now)
        if overloaded or (knew and (told is None or told.tokens_left is None)):
            factor, gain = _OVERLOADED if overloaded else _REFUSED
            self._pace = max(_LEAST_PACE, self._pace_at(now) * factor)
            self._paced_at, self._gain = now, gain
        self._blocked_until = max(self._blocked_until, now + (1.0 if retry_after is None else retry_after))

    def _ticket(self, ask: Ask, need: int, allowed: Limits) -> _Ticket:
        tag = self._tags.get(ask.account, -1.0)
        start, lead = max(self._virtual, tag), 0.0
        if self._waiting and tag < self._virtual and self._lead >= need:
            self._lead -= need
            start, lead = self._round, _LEAD
        place = start - lead - ask.priority * self._head_start(need, allowed)
        self._joined += 1
        return _Ticket(place, self._joined, ask.id, ask.owner, start, ask.input_tokens, ask.output_at_most)

    def _grant(self, ticket: _Ticket, need: int, allowed: Limits, now: float) -> Permit:
        self._round = max(self._round, ticket.start)
        self._virtual = max(self._virtual + (need / (len(self._waiting) + 1) if self._waiting else 0.0), self._round)
        self._lead = min(self._lead + need / 2, max(need, self._head_start(need, allowed)))
        self._probes += 1
        if self._steady_at <= now and allowed != Limits():
            self._steady_at = now + self._seconds_of(need, 1, now)
        else:
            self._bursts.add(now, need, 1)
        return Permit(self._window.add(now, need, 1), need)

    def _head_start(self, need: int, allowed: Limits) -> float:
        """What a lane sends in ten seconds, in tokens."""
        return _HEAD_START * (allowed.tokens or (allowed.requests or 0) * max(1, need)) / MINUTE

    def _advance(self, now: float) -> None:
        """Grant what fits, in order: who is next is waited for, however much it needs."""
        allowed = self.limits(now)
        while self._waiting:
            ticket = self._waiting[0]
            if now - self._seen.get(ticket.owner, 0.0) > _GONE:
                del self._waiting[0]
                continue
            need = self._need(ticket.input_tokens, ticket.output_at_most, allowed)
            if not self._fits(need, allowed, now):
                return
            del self._waiting[0]
            permit = self._grant(ticket, need, allowed, now)
            self._granted[ticket.id] = [ticket.owner, now, permit.number, permit.tokens]

    def _fits(self, need: int, allowed: Limits, now: float) -> bool:
        if now < self._blocked_until:
            return False
        if not self._silent and self._full() == Limits() and self._probes >= _PROBES:
            return False
        if self._steady_at > now and not self._may_burst(need, now):
            return False
        return all(
            (limits.tokens is None or window.tokens + need <= limits.tokens)
            and (limits.requests is None or window.requests + 1 <= limits.requests)
            for window, limits in self._bounds(allowed, now)
        )

    def _may_burst(self, need: int, now: float) -> bool:
        """Whether a request may be sent ahead of its time."""
        most, bursts = self.limits(now), self._bursts
        share = self._limits.burst
        return (most.tokens is None or bursts.tokens + need <= most.tokens * share) and (
            most.requests is None or bursts.requests + 1 <= most.requests * share
        )

    def _seconds_of(self, tokens: int, requests: int, now: float) -> float:
        """How many seconds so much takes, spread over a minute with all that was not sent at once in the last one."""
        most, bursts = self.limits(now), self._bursts
        if self._limits.burst >= 1.0:
            return 0.0
        return MINUTE * max(
            0.0 if most.tokens is None else tokens / max(1, most.tokens - bursts.tokens),
            0.0 if most.requests is None else requests / max(1, most.requests - bursts.requests),
        )

    def _bounds(self, allowed: Limits, now: float) -> list[tuple[Window, Limits]]:
        """What counts, and against which limits: all that was sent here, and with what others sent, at the server."""
        bounds = [(self._window, allowed)]
        if self._others.parts:
            bounds.append((self._window.with_(self._others), self._paced(self._told, now)))
        return bounds

    def _need(self, input_tokens: int, output_at_most: int, allowed: Limits) -> int:
        """How many tokens to hold for a request; never more than a minute allows."""
        output = float(output_at_most)
        if not self._counts_bound:
            output = min(output, max(2 * self._output, (allowed.tokens or 0) / _SHARE))
        need = input_tokens + int(output)
        return need if allowed.tokens is None else min(need, allowed.tokens)

    def _available_at(self, place: int, need: int, allowed: Limits, now: float) -> float:
        """When a request at a place in the order can be sent, as it looks now."""
        tokens = need + sum(
            self._need(each.input_tokens, each.output_at_most, allowed) for each in self._waiting[:place]
        )
        latest = max(self._blocked_until, self._steadily_at(place, tokens, need, now))
        for window, limits in self._bounds(allowed, now):
            over_tokens = 0 if limits.tokens is None else window.tokens + tokens - limits.tokens
            over_requests = 0 if limits.requests is None else window.requests + place + 1 - limits.requests
            minutes = max(
                0.0,
                0.0 if limits.tokens is None else (over_tokens - window.tokens) / limits.tokens,
                0.0 if limits.requests is None else (over_requests - window.requests) / limits.requests,
            )
            latest = max(latest, window.free_at(now, over_tokens, over_requests) + minutes * MINUTE)
        return latest

    def _steadily_at(self, place: int, tokens: int, need: int, now: float) -> float:
        """When a request can be sent that is so many tokens and places behind, as far as the spreading goes."""
        if self._may_burst(tokens, now) or self._steady_at <= now:
            return now
        share = self._limits.burst
        spread = self._steady_at - now + self._seconds_of(tokens - need, place, now)
        return now + (spread if spread <= MINUTE else spread * (1.0 - share) + MINUTE * share)

    def _pause(self, allowed: Limits, now: float) -> float:
        """Seconds until it is worth looking again."""
        if not self._waiting:
            return _LONGEST_LOOK
        head = self._waiting[0]
        need = self._need(head.input_tokens, head.output_at_most, allowed)
        return min(_LONGEST_LOOK, max(_SHORTEST_LOOK, self._available_at(0, need, allowed, now) - now))

    def _learn(self, told: RatesTold, now: float) -> None:
        requests = self._told.requests if told.requests is None else told.requests
        tokens = self._told.tokens if told.tokens is None else told.tokens
        self._told, self._silent = Limits(requests or None, tokens or None), False
        window, known = self._window, self._others
        for limit, left, reset, sent, is_tokens in (
            (told.tokens, told.tokens_left, told.tokens_reset, window.tokens + known.tokens, True),
            (told.requests, told.requests_left, told.requests_reset, window.requests + known.requests, False),
        ):
            if not limit or left is None:
                continue
            others = limit - sent - left
            if others > 0:
                seconds = MINUTE if reset is None else reset
                known.spread(now, seconds, others if is_tokens else 0, 0 if is_tokens else others)

    def _full(self) -> Limits:
        """The limits at full pace."""
        given, told = self._limits, self._told
        return Limits(_least(given.requests, told.requests), _least(given.tokens, told.tokens))

    def _paced(self, limits: Limits, now: float) -> Limits:
        pace = self._pace_at(now)
        return Limits(_part(limits.requests, pace), _part(limits.tokens, pace))

    def _pace_at(self, now: float) -> float:
        return min(1.0, self._pace + max(0.0, now - self._paced_at) * self._gain)

    def _roll(self, now: float) -> None:
        self._window.roll(now)
        self._others.roll(now)
        self._bursts.roll(now)
        if len(self._tags) > _MOST_TAGS:
            self._tags = {account: tag for account, tag in self._tags.items() if tag > self._virtual}
        if self._granted:
            self._granted = {id_: kept for id_, kept in self._granted.items() if now - kept[1] <= MINUTE}
        if len(self._seen) > 1:
            self._seen = {owner: at for owner, at in self._seen.items() if now - at <= MINUTE}


def _order(ticket: _Ticket) -> tuple[float, int]:
    return ticket.place, ticket.joined


def _least(*values: int | None) -> int | None:
    return min((value for value in values if value is not None), default=None)


def _part(value: int | None, share: float) -> int | None:
    return None if value is None else max(1, int(value * share))
