"""Users on several budgets at once, taken from await to await in any order, while windows end and limits change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tenacity import wait_fixed

from assistantguard import Budget, Policy, TransientRetry
from assistantguard.events import BudgetWarned
from assistantguard.ledger import Claim, Entry, Hold
from assistantguard.policies import Decision, Metric, View
from assistantguard.policies.base import Counting
from tests.properties.acts import Act, Refusal, Vanish
from tests.properties.stage import WatchingLedger
from tests.properties.strategies import REFUSALS, acts, answers, manners
from tests.properties.test_crowd_on_one_cap import Turn
from tests.properties.world import Manner, World

Script = Sequence[Act | Refusal | Vanish]
_OWNERS = (("ann", "acme"), ("ann", "acme"), ("bob", "acme"), ("cy@x:1", "bolt"))
"""User and tenant of each thread."""
_LONGEST_PAUSE = 1e9
_threads = st.integers(0, len(_OWNERS) - 1)
_scripts = st.one_of(st.lists(answers, max_size=3), acts.map(lambda script: script[:3]))
_countings: st.SearchStrategy[Counting] = st.sampled_from(["always", "near", "never"])
_tokens = st.sampled_from([None, 3_000, 40_000, 200_000, 3_000_000])
_messages = st.sampled_from([None, 1, 3, 20])


@st.composite
def _budgets(draw: st.DrawFn) -> list[Budget]:
    made = []
    for number in range(draw(st.integers(1, 4))):
        tokens, messages = draw(_tokens), draw(_messages)
        if tokens is None and messages is None:
            tokens = 20_000
        made.append(
            Budget(
                draw(st.sampled_from(["user", "user", "tenant", "application"])),
                draw(st.sampled_from(["hour", "day", "day", "week", "month", None, timedelta(seconds=97)])),
                tokens=tokens,
                messages=messages,
                timezone=draw(st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"])),
                name=f"b{number}",
                counting=draw(_countings),
                wait=draw(st.sampled_from([0.0, 2.0, 200.0])),
            )
        )
    return made


def window_of(budget: Budget, now: float) -> str:
    """The window that a moment lies in, found in another way than the product finds it."""
    label = budget.windows.label
    if label == "ever":
        return ""
    if label == "97s":
        return datetime.fromtimestamp(now // 97 * 97, ZoneInfo("UTC")).strftime("%Y-%m-%dT%H:%M:%SZ")
    form = {"hour": "%Y-%m-%dT%H:00%z", "day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}[label]
    return datetime.fromtimestamp(now, ZoneInfo(budget.windows.timezone)).strftime(form)


def owner_of(budget: Budget, number: int) -> str:
    return {"user": _OWNERS[number][0], "tenant": _OWNERS[number][1]}.get(budget.kind, "")


class Probe(Policy):
    """Notes when the policies were last asked about a run's request, and on which thread."""

    def __init__(self) -> None:
        self.asked: dict[str, tuple[float, int, bool]] = {}

    def before_request(self, view: View) -> Decision | None:
        assert view.run is not None
        self.asked[view.run.id] = view.now, int(view.thread.id.rpartition("_")[2]), view.run.message_counted
        return None


class Bookkeeper(WatchingLedger):
    """Checks every hold against budgets that it works out for itself."""

    def __init__(self, machine: CrowdOnBudgets) -> None:
        super().__init__()
        self._machine = machine
        self.runs: dict[str, str] = {}
        """The run of each hold that holds messages."""
        self.counted: Counter[str] = Counter()
        """Messages on the books, by run."""
        self.booked: set[str] = set()
        """Runs that have something on the books."""

    def reserve(self, hold_id: str, claims: Sequence[Claim], expires_at: float) -> Hold:
        hold = super().reserve(hold_id, claims, expires_at)
        machine, now = self._machine, self._machine.world.stage.now
        run_id = next(claim.account for claim in claims if claim.account.startswith("run:")).removeprefix("run:")
        asked_at, number, counted = machine.probe.asked[run_id]
        found = {(claim.account, claim.metric): claim.limit for claim in claims if "@" in claim.account}
        expected: dict[tuple[str, Metric], Decimal] = {}
        for budget in machine.budgets:
            key, window = budget.key(owner_of(budget, number)), window_of(budget, asked_at)
            if self.in_process:  # nobody else had a turn meanwhile
                assert window == window_of(budget, max(asked_at, now - 0.1)), "the window was over"
            for metric, limit in budget.limits.items():
                if metric != "messages" or not counted:
                    expected[f"{key}:{window}" if window else key, metric] = machine.overrides.get((key, metric), limit)
        assert found.keys() == expected.keys()
        if self.in_process:
            assert found == expected
        if any(metric == "messages" for _, metric in found):
            self.runs[hold_id] = run_id
        return hold

    def commit(self, hold_id: str, entry: Entry) -> None:
        was_open = any(hold.id == hold_id for hold in self.open_holds())
        super().commit(hold_id, entry)
        if was_open:
            self.booked.add(entry.run_id)
            self._count(hold_id)

    def expire(self, now: float) -> Sequence[Hold]:
        ended = super().expire(now)
        for hold in ended:
            self._count(hold.id)
        return ended

    def _count(self, hold_id: str) -> None:
        if hold_id in self.runs:
            self.counted[self.runs[hold_id]] += 1


class CrowdOnBudgets(RuleBasedStateMachine):
    """No budget is overspent, each request is booked in its own window, and each message counts once."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: dict[int, Turn] = {}
        self.overrides: dict[tuple[str, Metric], Decimal] = {}

    @initialize(
        budgets=_budgets(),
        manner=manners,
        density=st.sampled_from([0.05, 0.3, 1.0]),
        attempts=st.integers(1, 3),
        in_process=st.booleans(),
        run_timeout=st.sampled_from([300.0, 300.0, 4e6]),
        begins_at=st.sampled_from([1_000_000.0, 1_795_301_990.0, 1_792_889_990.0]),
        script=_scripts,
    )
    def open_shop(
        self,
        budgets: list[Budget],
        manner: Manner,
        density: float,
        attempts: int,
        in_process: bool,
        run_timeout: float,
        begins_at: float,
        script: Script,
    ) -> None:
        self.budgets, self.probe = budgets, Probe()
        self.ledger = Bookkeeper(self)
        self.world = World(
            policies=[TransientRetry(attempts, wait=wait_fixed(0.5)), self.probe, *budgets],
            colour="stepped",
            manner=manner,
            density=density,
            in_process=in_process,
            run_timeout=run_timeout,
            ledger=self.ledger,
        )
        self.world.stage.now = begins_at
        self.threads = [self.world.new_thread(f"thread_{number}") for number in range(len(_OWNERS))]
        for thread, (user, tenant) in zip(self.threads, _OWNERS, strict=True):
            thread.user, thread.tenant = user, tenant
        self.world.server.script(script)
        for number in range(len(_OWNERS)):
            self.begin(number, [], in_pieces=number > 1)

    @rule(script=_scripts)
    def begin_all(self, script: Script) -> None:
        for number in range(len(_OWNERS)):
            self.begin(number, script, in_pieces=number > 1)
            self.go_on(number, 2 * number)

    @rule(number=_threads, script=_scripts, in_pieces=st.booleans())
    def begin(self, number: int, script: Script, in_pieces: bool) -> None:
        if number not in self.turns:
            self.world.server.script(script)
            stream = self.world.engine.stream(self.threads[number], "Hello?", in_pieces=in_pieces)
            self.turns[number] = Turn(stream, in_pieces=in_pieces)

    @precondition(lambda self: self.turns)
    @rule(number=_threads, times=st.sampled_from([3, 10, 30, 100]))
    def go_on(self, number: int, times: int) -> None:
        for _ in range(times):
            turn = self.turns.get(number)
            if turn is not None:
                turn.step()
                self._forget_ended()

    @precondition(lambda self: self.turns)
    @rule(times=st.sampled_from([5, 20, 60, 200]))
    def go_on_side_by_side(self, times: int) -> None:
        for _ in range(times):
            for turn in [*self.turns.values()]:
                turn.step()
            self._forget_ended()

    @precondition(lambda self: self.turns)
    @rule(number=_threads)
    def end_early(self, number: int) -> None:
        turn = self.turns.get(number)
        if turn is not None and turn.rests:
            turn.close()
        elif turn is not None:
            turn.cancel()
        self._forget_ended()

    @rule(seconds=st.sampled_from([1, 10, 100, 3_600, 86_400, 40 * 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.world.stage.now += seconds

    @rule(number=st.integers(0, 3), before=st.sampled_from([1.0, 0.01, 0.002, 0.0]))
    def a_window_ends(self, number: int, before: float) -> None:
        stage = self.world.stage
        end = self.budgets[number % len(self.budgets)].windows.at(stage.now).ends_at
        if end is not None:
            stage.now = max(stage.now, end - before)

    @rule(number=st.integers(0, 3), owner=_threads, amount=st.sampled_from([None, None, 0, 40, 50_000, 500_000]))
    def a_limit_is_set(self, number: int, owner: int, amount: int | None) -> None:
        budget = self.budgets[number % len(self.budgets)]
        key = budget.key(owner_of(budget, owner))
        for metric in budget.limits:
            self.ledger.set_limit(key, metric, amount)
            self.overrides.pop((key, metric), None)
            if amount is not None:
                self.overrides[key, metric] = Decimal(amount)

    @rule(lost=st.booleans())
    def something_is_lost(self, lost: bool) -> None:
        self.world.server.script([Act(lost=True) if lost else Refusal(REFUSALS[-1])])

    @rule(many=st.integers(1, 5))
    def the_server_works_on(self, many: int) -> None:
        for _ in range(many):
            self.world.server.jobs.tick()
        if many == 1:
            self.world.server.jobs.tell_all()

    @invariant()
    def a_message_counts_once(self) -> None:
        if hasattr(self, "ledger"):  # that no account passes its limit is watched with every change
            assert max(self.ledger.counted.values(), default=0) <= 1

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        pause = 1.0
        while self.turns:
            for turn in [*self.turns.values()]:
                turn.step()
            self._forget_ended()
            self.world.stage.now += pause
            pause *= 1.02
            assert pause < _LONGEST_PAUSE, "a turn does not end"
        self.a_message_counts_once()
        self.world.check_books(interrupted=True)
        if any("messages" in budget.limits for budget in self.budgets):
            assert self.ledger.booked <= set(self.ledger.counted)
        warned = [event for event in self.world.events if isinstance(event, BudgetWarned)]
        assert len({(event.account, event.metric, event.threshold) for event in warned}) == len(warned)
        assert all(event.committed >= Decimal(str(event.threshold)) * event.limit for event in warned)
        for budget in self.budgets:
            if budget.windows.label == "ever" and budget.kind == "application" and "tokens" in budget.limits:
                spent = self.ledger.balance(budget.key(""), "tokens").committed
                assert spent >= sum(billed.usage.total_tokens for billed in self.world.server.bill)

    def _forget_ended(self) -> None:
        self.turns = {number: turn for number, turn in self.turns.items() if not turn.ended}


TestCrowdOnBudgets = CrowdOnBudgets.TestCase
