"""One suite over every thread store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from assistantguard.errors import (
    LeaseLost,
    ThreadArchived,
    ThreadNameTaken,
    ThreadNotFound,
    ThreadRefused,
    TooManyThreads,
)
from assistantguard.models import RunState, ThreadState, Usage
from assistantguard.storage import Opened, Taken, ThreadFilter, ThreadStore, Unfinished, VectorStoreRecord

NASTY = (
    "'; DROP TABLE threads; --",
    '"quoted" `and` \\ [more]',
    "100 % of_it",
    "100 x ofxit",
    "naïve café",
    "ТОПИК",
    "\U0001f9fe\u200d\U0001f4b3",
    "x" * 256,
)


def state(thread_id: str = "t-1", *, user: str | None = None, name: str | None = None, at: float = 0.0) -> ThreadState:
    return ThreadState(thread_id, user=user, name=name, created_at=at, last_used_at=at)


def run(run_id: str = "run_1", thread_id: str = "t-1", *, key: str | None = None, at: float = 10.0) -> RunState:
    return RunState(run_id, thread_id, "gpt-6-luna", status="in_progress", key=key, started_at=at)


def ended(one: RunState, at: float) -> RunState:
    one.status, one.finished_at = "completed", at
    one.usage, one.cost, one.response_ids = Usage(10, output_tokens=5, requests=1), Decimal("0.25"), ["resp_1"]
    return one


def opened(
    store: ThreadStore, thread_id: str = "t-1", owner: str = "a", *, now: float = 0.0, user: str | None = None
) -> Opened:
    got = store.open(thread_id, owner, 30.0, now, user=user, fresh=state(thread_id, user=user))
    assert isinstance(got, Opened)
    return got


def named(store: ThreadStore, user: str, *names: str, at: float = 0.0) -> None:
    for number, name in enumerate(names):
        store.get_or_create(state(f"{user}/{name}", user=user, name=name, at=at + number), None)


def ids(store: ThreadStore, wanted: ThreadFilter) -> list[str]:
    return [info.id for info in store.select(wanted)]


def test_a_thread_that_is_not_there_is_begun_where_that_is_wanted(store: ThreadStore) -> None:
    with pytest.raises(ThreadNotFound):
        store.open("t-1", "a", 30.0, 0.0)
    got = store.open("t-1", "a", 30.0, 0.0, fresh=state(at=5.0))
    assert isinstance(got, Opened)
    assert got.thread == state(at=5.0)
    assert got.run is None
    again = store.open("t-1", "a", 30.0, 0.0, fresh=state(at=9.0))
    assert isinstance(again, Opened)
    assert again.thread.created_at == 5.0


def test_what_was_saved_is_there_for_the_next_owner(store: ThreadStore) -> None:
    got = opened(store)
    thread = got.thread
    thread.turns, thread.usage, thread.cost = 3, Usage(100, output_tokens=20, requests=3), Decimal("0.000123456789")
    thread.generation, thread.generation_id, thread.strays, thread.last_used_at = 2, "conv_2", ["mark"], 77.5
    thread.context_tokens = 120
    work = run()
    work.input = [{"type": "message", "role": "user", "content": "Hi"}]
    store.save(thread, work, got.fence, close=True)
    after = opened(store, owner="b", now=1.0)
    assert after.thread == thread
    assert after.run is not None
    assert (after.run.id, after.run.status, after.run.started_at) == ("run_1", "in_progress", 10.0)
    info = store.info("t-1")
    assert (info.turns, info.usage, info.cost, info.context_tokens) == (3, thread.usage, thread.cost, 120)
    assert (info.generation, info.generation_id, info.last_used_at) == (2, "conv_2", 77.5)
    assert store.state("t-1") == thread


def test_a_thread_is_lent_to_one_owner_at_a_time(store: ThreadStore) -> None:
    first = opened(store, owner="a", now=100.0)
    assert store.open("t-1", "b", 30.0, 129.0) == Taken("a", 130.0)
    store.close("t-1", "a", first.fence)
    second = store.open("t-1", "b", 30.0, 129.0)
    assert isinstance(second, Opened)
    assert second.fence > first.fence


def test_a_lease_that_ended_is_taken_over_and_its_owner_saves_nothing_more(store: ThreadStore) -> None:
    first = opened(store, owner="a", now=100.0)
    second = opened(store, owner="b", now=130.0)
    first.thread.turns += 1
    with pytest.raises(LeaseLost, match="t-1"):
        store.save(first.thread, run(), first.fence)
    store.close("t-1", "a", first.fence)
    assert store.open("t-1", "c", 30.0, 131.0) == Taken("b", 160.0)
    store.save(second.thread, None, second.fence)
    assert store.runs("t-1") == []


def test_an_owner_that_opens_twice_has_the_newer_fence(store: ThreadStore) -> None:
    first, second = opened(store, now=0.0), opened(store, now=1.0)
    with pytest.raises(LeaseLost):
        store.save(first.thread, None, first.fence)
    store.close("t-1", "a", first.fence)
    assert store.open("t-1", "b", 30.0, 2.0) == Taken("a", 31.0)
    store.save(second.thread, None, second.fence)


def test_all_leases_of_an_owner_are_renewed_at_once(store: ThreadStore) -> None:
    for thread_id in ("t-1", "t-2"):
        opened(store, thread_id, "a", now=0.0)
    opened(store, "t-3", "b", now=0.0)
    closed = opened(store, "t-4", "a", now=0.0)
    store.close("t-4", "a", closed.fence)
    store.renew("a", 20.0, 30.0)
    assert [store.open(each, "c", 30.0, 40.0) for each in ("t-1", "t-2")] == [Taken("a", 50.0), Taken("a", 50.0)]
    assert isinstance(store.open("t-3", "c", 30.0, 40.0), Opened)
    assert isinstance(store.open("t-4", "c", 30.0, 25.0), Opened)
    store.renew("nobody", 20.0, 30.0)


def test_a_thread_is_lent_to_one_of_many_who_ask_at_once(store: ThreadStore) -> None:
    opened(store, "t-1", "nobody", now=-100.0)
    start = threading.Barrier(8)

    def ask(number: int) -> Opened | Taken:
        start.wait()
        return store.open("t-1", f"owner {number}", 30.0, 0.0)

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(ask, range(8)))
    assert sum(isinstance(each, Opened) for each in got) == 1
    assert len({each.owner for each in got if isinstance(each, Taken)}) == 1


def test_a_run_in_flight_is_found_once_nobody_drives_it(store: ThreadStore) -> None:
    for number, owner in ((1, "a"), (2, "b"), (3, "c")):
        got = opened(store, f"t-{number}", owner, now=float(number), user=f"u-{number}")
        store.save(got.thread, run(f"run_{number}", f"t-{number}", at=10.0 - number), got.fence, close=owner == "c")
    opened(store, "t-4", "d", now=0.0)
    assert store.unfinished(5.0) == [Unfinished("t-3", "u-3", "run_3")]
    assert store.unfinished(32.0) == [Unfinished(f"t-{each}", f"u-{each}", f"run_{each}") for each in (3, 2, 1)]
    assert [each.run_id for each in store.unfinished(32.0, limit=1)] == ["run_3"]
    adopted = opened(store, "t-3", "z", now=32.0, user="u-3")
    assert adopted.run is not None
    assert [each.run_id for each in store.unfinished(32.5)] == ["run_2", "run_1"]
    store.save(adopted.thread, ended(adopted.run, 33.0), adopted.fence, close=True)
    assert [each.run_id for each in store.unfinished(999.0)] == ["run_2", "run_1"]


def test_a_run_that_ended_is_kept_with_what_it_used(store: ThreadStore) -> None:
    got = opened(store)
    work = run(key="order 17")
    store.save(got.thread, work, got.fence)
    (record,) = store.runs("t-1")
    assert (record.status, record.finished_at, record.key) == ("in_progress", None, "order 17")
    store.save(got.thread, ended(work, 12.0), got.fence)
    (record,) = store.runs("t-1")
    assert (record.id, record.thread_id, record.key, record.model) == ("run_1", "t-1", "order 17", "gpt-6-luna")
    assert (record.status, record.started_at, record.finished_at) == ("completed", 10.0, 12.0)
    assert (record.usage, record.cost) == (Usage(10, output_tokens=5, requests=1), Decimal("0.25"))
    assert (record.response_ids, record.last_error) == (("resp_1",), None)
    assert opened(store).run is None


def test_an_unknown_cost_stays_unknown(store: ThreadStore) -> None:
    got = opened(store)
    got.thread.cost = None
    work = ended(run(), 12.0)
    work.cost = None
    store.save(got.thread, work, got.fence)
    assert store.info("t-1").cost is None
    assert store.runs("t-1")[0].cost is None


def test_runs_are_told_newest_first(store: ThreadStore) -> None:
    got = opened(store)
    for number in (2, 1, 3):
        store.save(got.thread, ended(run(f"run_{number}", at=float(number)), 10.0), got.fence)
    assert [each.id for each in store.runs("t-1")] == ["run_3", "run_2", "run_1"]
    assert [each.id for each in store.runs("t-1", limit=2)] == ["run_3", "run_2"]
    assert store.runs("t-2") == []


def test_a_run_is_found_by_its_key_on_its_own_thread(store: ThreadStore) -> None:
    first, other = opened(store), opened(store, "t-2")
    store.save(first.thread, run("run_1", key="k"), first.fence)
    store.save(other.thread, ended(run("run_2", "t-2", key="k", at=99.0), 100.0), other.fence)
    store.save(other.thread, ended(run("run_3", "t-2", at=99.0), 100.0), other.fence)
    found = [store.run_by_key(thread_id, "k") for thread_id in ("t-1", "t-2", "t-3")]
    assert [None if each is None else (each.id, each.status) for each in found] == [
        ("run_1", "in_progress"),
        ("run_2", "completed"),
        None,
    ]
    assert store.run_by_key("t-1", "K") is None
    assert store.run_by_key("t-1", "' OR 1=1 --") is None


def test_of_runs_with_one_key_the_newest_is_found(store: ThreadStore) -> None:
    got = opened(store)
    for number in (1, 2):
        store.save(got.thread, ended(run(f"run_{number}", key="k", at=float(number)), 10.0), got.fence)
    found = store.run_by_key("t-1", "k")
    assert found is not None
    assert found.id == "run_2"


def test_old_runs_are_forgotten_and_those_in_flight_are_not(store: ThreadStore) -> None:
    got = opened(store)
    for number in (1, 2, 3):
        store.save(got.thread, ended(run(f"run_{number}"), float(number)), got.fence)
    store.save(got.thread, run("run_4", at=0.0), got.fence)
    assert store.prune(3.0) == 2
    assert {each.id for each in store.runs("t-1")} == {"run_3", "run_4"}
    assert store.prune(3.0) == 0


def test_a_user_has_one_thread_of_a_name(store: ThreadStore) -> None:
    first = store.get_or_create(state("t-1", user="u-1", name="billing", at=7.0), 5)
    again = store.get_or_create(state("t-2", user="u-1", name="billing", at=9.0), 5)
    other = store.get_or_create(state("t-3", user="u-2", name="billing", at=9.0), 5)
    assert first == again
    assert (first.id, first.user, first.name, first.created_at) == ("t-1", "u-1", "billing", 7.0)
    assert (other.id, other.user) == ("t-3", "u-2")
    with pytest.raises(ThreadNotFound):
        store.info("t-2", "u-1")


def test_of_many_who_ask_for_a_new_name_at_once_all_get_one_thread(store: ThreadStore) -> None:
    start = threading.Barrier(8)

    def ask(number: int) -> str:
        start.wait()
        return store.get_or_create(state(f"t-{number}", user="u-1", name="billing"), 1).id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert len(store.select(ThreadFilter("u-1"))) == 1


def test_of_many_who_ask_for_new_names_at_once_no_more_get_one_than_are_allowed(store: ThreadStore) -> None:
    start = threading.Barrier(8)

    def ask(number: int) -> bool:
        start.wait()
        try:
            store.get_or_create(state(f"t-{number}", user="u-1", name=f"topic {number}"), 3)
        except TooManyThreads:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == 3


def test_a_user_has_so_many_named_threads_in_use(store: ThreadStore) -> None:
    store.current(state("unnamed", user="u-1"))
    for name in ("a", "b"):
        store.get_or_create(state(name, user="u-1", name=name), 2)
    with pytest.raises(TooManyThreads, match=r"u-1.* 2 .*max_threads_per_user"):
        store.get_or_create(state("c", user="u-1", name="c"), 2)
    assert store.get_or_create(state("x", user="u-1", name="a"), 2).id == "a"
    store.get_or_create(state("d", user="u-2", name="c"), 2)
    store.archive("a", "u-1", 5.0)
    store.get_or_create(state("c", user="u-1", name="c"), 2)
    with pytest.raises(TooManyThreads):
        store.restore("a", "u-1", 2)
    with pytest.raises(TooManyThreads):
        store.rename("unnamed", "u-1", "named", 2)
    store.rename("b", "u-1", "still b", 2)
    assert store.restore("b", "u-1", 2).archived_at is None
    assert store.restore("a", "u-1", 3).archived_at is None
    store.get_or_create(state("e", user="u-1", name="e"), None)


def every_call(store: ThreadStore) -> Sequence[Callable[..., object]]:
    """All that is done to a thread, by its id and its user."""
    return (
        lambda one, whose: store.open(one, "a", 30.0, 0.0, user=whose),
        store.state,
        store.info,
        store.switch,
        lambda one, whose: store.rename(one, whose, "stolen", None),
        lambda one, whose: store.tag(one, whose, ["stolen"]),
        lambda one, whose: store.archive(one, whose, 0.0),
        lambda one, whose: store.restore(one, whose, None),
        lambda one, whose: store.delete(one, whose, 1, 0.0),
    )


def test_a_thread_of_another_user_does_not_exist(store: ThreadStore) -> None:
    named(store, "u-1", "billing")
    mine = "u-1/billing"
    for user in ("u-2", None, "U-1", "u-1 ", "u-1' OR '1'='1", "%", "u_1"):
        told = []
        for thread_id in (mine, "no such thread"):
            for call in every_call(store):
                with pytest.raises(ThreadRefused) as caught:
                    call(thread_id, user)
                assert type(caught.value) is ThreadNotFound
                told.append(str(caught.value).replace(thread_id, "…"))
        assert len(set(told)) == 1
        assert store.select(ThreadFilter(user)) == []
        with pytest.raises(ThreadNotFound):
            store.open(mine, "a", 30.0, 0.0, user=user, fresh=state(mine, user=user))
    (info,) = store.select(ThreadFilter("u-1"))
    assert (info.name, info.tags, info.archived_at) == ("billing", (), None)


def test_the_application_reaches_its_own_threads_without_a_user(store: ThreadStore) -> None:
    opened(store, "own")
    named(store, "u-1", "billing")
    assert ids(store, ThreadFilter()) == ["own"]
    with pytest.raises(ThreadNotFound):
        store.info("own", "u-1")
    assert store.info("own").user is None


def test_lists_are_newest_first_and_come_in_pages(store: ThreadStore) -> None:
    named(store, "u-1", "a", "b", "c", "d")
    named(store, "u-1", "e", at=3.0)  # as old as d
    named(store, "u-2", "z", at=2.0)
    found: list[str] = []
    after = None
    while page := store.select(ThreadFilter("u-1", limit=2, after=after)):
        found += [info.id for info in page]
        after = (page[-1].last_used_at, page[-1].id)
    assert found == [f"u-1/{name}" for name in "edcba"]
    assert ids(store, ThreadFilter(everyone=True)) == ["u-1/e", "u-1/d", "u-2/z", "u-1/c", "u-1/b", "u-1/a"]


def test_archived_threads_are_listed_on_their_own(store: ThreadStore) -> None:
    named(store, "u-1", "a", "b", "c")
    assert store.archive("u-1/b", "u-1", 50.0).archived_at == 50.0
    assert store.archive("u-1/b", "u-1", 60.0).archived_at == 50.0
    store.archive("u-1/a", "u-1", 70.0)
    assert ids(store, ThreadFilter("u-1")) == ["u-1/c"]
    assert ids(store, ThreadFilter("u-1", archived=True)) == ["u-1/b", "u-1/a"]
    assert ids(store, ThreadFilter("u-1", archived=None)) == ["u-1/c", "u-1/b", "u-1/a"]
    assert ids(store, ThreadFilter(everyone=True, archived=True, archived_before=70.0)) == ["u-1/b"]
    assert ids(store, ThreadFilter(everyone=True, used_before=2.0)) == []
    assert ids(store, ThreadFilter(everyone=True, archived=None, used_before=2.0)) == ["u-1/b", "u-1/a"]
    assert store.restore("u-1/b", "u-1", None).archived_at is None
    assert ids(store, ThreadFilter("u-1")) == ["u-1/c", "u-1/b"]


def search(store: ThreadStore, text: str | None = None, tag: str | None = None) -> set[str]:
    return {str(info.name) for info in store.select(ThreadFilter("u-1", text=text, tag=tag))}


def test_threads_are_found_by_what_their_name_or_a_tag_contains_in_any_case(store: ThreadStore) -> None:
    named(store, "u-1", "Billing 2026", "Straße", "ÉCOLE", "other")
    named(store, "u-2", "Billing of another")
    store.tag("u-1/other", "u-1", ["Invoices", "late"])
    assert search(store, "BILL") == {"Billing 2026"}
    assert search(store, "strasse") == {"Straße"}
    assert search(store, "e\u0301cole") == {"ÉCOLE"}
    assert search(store, "voice") == {"other"}
    assert search(store, tag="invoices") == {"other"}
    assert search(store, tag="invoice") == set()
    assert search(store, "oth", tag="LATE") == {"other"}
    assert search(store, "bill", tag="late") == set()
    assert search(store, "") == {"Billing 2026", "Straße", "ÉCOLE", "other"}
    assert search(store, "nowhere") == set()


def test_every_character_of_a_search_stands_for_itself(store: ThreadStore) -> None:
    named(store, "u-1", *NASTY)
    for name in NASTY:
        assert search(store, name) == {name}
    assert search(store, "%") == {"100 % of_it"}
    assert search(store, "f_i") == {"100 % of_it"}
    assert search(store, "\\") == {NASTY[1]}
    assert search(store, "[more]") == {NASTY[1]}
    assert search(store, "!") == set()


def test_names_and_tags_and_users_are_only_words(store: ThreadStore) -> None:
    for name in NASTY:
        for user in NASTY:
            made = store.get_or_create(state(f"{user} {name}", user=user, name=name), None)
            assert (made.user, made.name) == (user, name)
    for user in NASTY:
        assert len(store.select(ThreadFilter(user))) == len(NASTY)
    store.tag(f"{NASTY[0]} {NASTY[0]}", NASTY[0], NASTY)
    info = store.info(f"{NASTY[0]} {NASTY[0]}", NASTY[0])
    assert set(info.tags) == set(NASTY)
    for tag in NASTY:
        assert [each.id for each in store.select(ThreadFilter(NASTY[0], tag=tag))] == [info.id]


def test_tags_are_added_and_removed(store: ThreadStore) -> None:
    named(store, "u-1", "a")
    assert store.tag("u-1/a", "u-1", ["x", "y", "x"]).tags == ("x", "y")
    assert store.tag("u-1/a", "u-1", ["z"], ["x", "never"]).tags == ("y", "z")
    assert store.info("u-1/a", "u-1").tags == ("y", "z")
    assert store.state("u-1/a", "u-1").tags == ("y", "z")


def test_a_tenant_and_tags_come_with_a_new_thread(store: ThreadStore) -> None:
    fresh = state("t-1", user="u-1", name="a")
    fresh.tenant, fresh.tags = "acme", ("late",)
    assert (store.get_or_create(fresh, None).tenant, store.info("t-1", "u-1").tags) == ("acme", ("late",))
    assert ids(store, ThreadFilter(everyone=True, tenant="acme", tag="late")) == ["t-1"]
    assert ids(store, ThreadFilter("u-1", tenant="other")) == []
    assert (store.state("t-1", "u-1").tenant, store.state("t-1", "u-1").tags) == ("acme", ("late",))


def test_a_name_moves_with_a_thread_and_is_free_again(store: ThreadStore) -> None:
    named(store, "u-1", "a", "b")
    named(store, "u-2", "c")
    with pytest.raises(ThreadNameTaken, match="'b'"):
        store.rename("u-1/a", "u-1", "b", None)
    assert store.rename("u-1/a", "u-1", "c", None).name == "c"
    assert store.rename("u-1/a", "u-1", "c", None).name == "c"
    assert store.get_or_create(state("new", user="u-1", name="a"), None).id == "new"
    assert store.state("u-1/a", "u-1").name == "c"


def test_what_is_said_of_a_thread_while_it_is_driven_stays_said(store: ThreadStore) -> None:
    named(store, "u-1", "a")
    got = store.open("u-1/a", "a", 30.0, 0.0, user="u-1")
    assert isinstance(got, Opened)
    store.rename("u-1/a", "u-1", "renamed", None)
    store.tag("u-1/a", "u-1", ["tagged"])
    store.archive("u-1/a", "u-1", 5.0)
    got.thread.turns = 1
    store.save(got.thread, None, got.fence, close=True)
    info = store.info("u-1/a", "u-1")
    assert (info.turns, info.name, info.tags, info.archived_at) == (1, "renamed", ("tagged",), 5.0)
    assert store.state("u-1/a", "u-1").archived_at == 5.0


def test_the_current_thread_is_the_one_switched_to_else_the_one_without_a_name(store: ThreadStore) -> None:
    named(store, "u-1", "a", "b", at=100.0)
    unnamed = store.current(state("unnamed", user="u-1"))
    assert (unnamed.id, unnamed.name) == ("unnamed", None)
    assert store.current(state("another", user="u-1")).id == "unnamed"
    assert store.switch("u-1/a", "u-1").current
    assert store.current(state("another", user="u-1")).id == "u-1/a"
    assert [info.id for info in store.select(ThreadFilter("u-1")) if info.current] == ["u-1/a"]
    store.archive("u-1/a", "u-1", 0.0)
    with pytest.raises(ThreadArchived):
        store.switch("u-1/a", "u-1")
    assert store.current(state("another", user="u-1")).id == "unnamed"
    store.archive("unnamed", "u-1", 0.0)
    assert store.current(state("another", user="u-1")).id == "another"
    assert store.current(state("theirs", user="u-2")).id == "theirs"


def test_of_many_who_ask_for_the_current_thread_at_once_all_get_one(store: ThreadStore) -> None:
    start = threading.Barrier(8)

    def ask(number: int) -> str:
        start.wait()
        return store.current(state(f"t-{number}", user="u-1")).id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1


def test_a_deleted_thread_is_gone_with_its_runs_and_leaves_its_generations_behind(store: ThreadStore) -> None:
    named(store, "u-1", "a", "b")
    store.tag("u-1/a", "u-1", ["tagged"])
    store.switch("u-1/a", "u-1")
    got = store.open("u-1/a", "a", 30.0, 0.0, user="u-1")
    assert isinstance(got, Opened)
    store.generation_begun("u-1/a", "conv_1", 5.0)
    got.thread.generation_id = "conv_1"
    store.save(got.thread, ended(run("run_1", "u-1/a", key="k"), 5.0), got.fence)
    store.save(got.thread, run("run_2", "u-1/a"), got.fence)
    with pytest.raises(LeaseLost):
        store.delete("u-1/a", "u-1", got.fence - 1, 50.0)
    assert store.delete("u-1/a", "u-1", got.fence, 50.0).generation_id == "conv_1"
    with pytest.raises(LeaseLost):
        store.save(got.thread, None, got.fence)
    with pytest.raises(ThreadNotFound):
        store.state("u-1/a", "u-1")
    assert ids(store, ThreadFilter(everyone=True, archived=None)) == ["u-1/b"]
    assert store.runs("u-1/a") == []
    assert store.run_by_key("u-1/a", "k") is None
    assert store.unfinished(999.0) == []
    assert search(store, tag="tagged") == set()
    assert store.current(state("fresh", user="u-1")).id == "fresh"
    (left,) = store.generations("u-1/a")
    assert (left.id, left.begun_at, left.left_at) == ("conv_1", 5.0, 50.0)
    assert store.get_or_create(state("again", user="u-1", name="a"), None).tags == ()


def enter(store: ThreadStore, thread_id: str, generation_id: str, now: float, *, keep: bool = False) -> None:
    got = opened(store, thread_id, now=now)
    store.generation_begun(thread_id, generation_id, now)
    if keep and got.thread.generation_id is not None:
        store.generation_left(got.thread.generation_id, now)
    got.thread.generation_id = generation_id
    store.save(got.thread, None, got.fence, close=True)


def test_generations_that_no_thread_is_in_are_found(store: ThreadStore) -> None:
    enter(store, "t-1", "conv_1", 1.0)
    enter(store, "t-1", "conv_2", 2.0)
    enter(store, "t-2", "conv_3", 3.0)
    store.generation_begun("t-2", "conv_lost", 4.0)
    store.generation_left("conv_never_was", 5.0)
    assert [each.id for each in store.generations("t-1")] == ["conv_2", "conv_1"]
    unused = store.unused_generations(100.0)
    assert [(each.id, each.thread_id, each.left_at) for each in unused] == [
        ("conv_1", "t-1", None),
        ("conv_lost", "t-2", None),
    ]
    assert [each.id for each in store.unused_generations(4.0)] == ["conv_1"]
    assert [each.id for each in store.unused_generations(100.0, limit=1)] == ["conv_1"]
    store.generation_deleted(["conv_1", "conv_never_was"], 9.0)
    assert [each.id for each in store.unused_generations(100.0)] == ["conv_lost"]
    assert [each.id for each in store.generations("t-1")] == ["conv_2"]


def test_a_generation_that_a_thread_keeps_is_unused_only_when_the_thread_is_deleted(store: ThreadStore) -> None:
    enter(store, "t-1", "conv_kept", 1.0)
    enter(store, "t-1", "conv_now", 2.0, keep=True)
    assert store.unused_generations(100.0) == []
    store.delete("t-1", None, opened(store, "t-1", now=3.0).fence, 4.0)
    unused = store.unused_generations(100.0)
    assert [(each.id, each.left_at) for each in unused] == [("conv_kept", 2.0), ("conv_now", 4.0)]


def test_vector_stores_are_found_by_their_files_and_by_who_has_them(store: ThreadStore) -> None:
    old = VectorStoreRecord("vs_1", "hash a", None, 1.0)
    new = VectorStoreRecord("vs_2", "hash a", 99.5, 2.0)
    other = VectorStoreRecord("vs_3", "hash b", None, 3.0)
    for each in (new, old, other):
        store.vector_store_used(each)
    assert store.vector_store("hash a") == new
    assert store.vector_store("hash c") is None
    got = opened(store)
    got.thread.vector_store_id = "vs_2"
    store.save(got.thread, None, got.fence)
    assert store.info("t-1").vector_store_id == "vs_2"
    store.archive("t-1", None, 5.0)
    assert store.vector_store_users("vs_2") == ["t-1"]
    assert store.vector_store_users("vs_1") == []
    assert store.unused_vector_stores(100.0) == [old, other]
    assert store.unused_vector_stores(3.0) == [old]
    assert store.unused_vector_stores(100.0, limit=1) == [old]
    again = VectorStoreRecord("vs_1", "hash a", 50.0, 4.0)
    store.vector_store_used(again)
    assert store.vector_store("hash a") == again
    store.vector_store_gone("vs_1")
    assert store.vector_store("hash a") == new
    assert store.unused_vector_stores(100.0) == [other]


def test_a_fence_is_never_given_twice(store: ThreadStore) -> None:
    fences: Sequence[int] = [opened(store, owner=f"owner {number}", now=number * 100.0).fence for number in range(5)]
    assert sorted(set(fences)) == fences
