"""The threads that a process drives: their leases, what is noted on the way, and what a fork makes of them."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from assistantguard.errors import LeaseLost
from assistantguard.models import ThreadState
from assistantguard.storage import MemoryThreads, Opened, SqlThreads, Taken, ThreadStore, open_database
from assistantguard.storage.leases import Leases


def begin(leases: Leases, thread_id: str = "t-1") -> ThreadState:
    opened = leases.open(thread_id, None, ThreadState(thread_id))
    assert isinstance(opened, Opened)
    return opened.thread


def test_a_thread_is_had_until_it_is_closed(store: ThreadStore) -> None:
    mine, yours = Leases(store, 30.0), Leases(store, 30.0)
    thread = begin(mine)
    taken = yours.open("t-1", None, None)
    assert isinstance(taken, Taken)
    assert taken.owner == mine.owner
    thread.turns = 1
    mine.close(thread)
    mine.close(thread)
    assert begin(yours).turns == 1
    with pytest.raises(LeaseLost):
        mine.save(thread, None)
    mine.stop()
    yours.stop()


def test_the_last_save_closes_a_thread(store: ThreadStore) -> None:
    mine, yours = Leases(store, 30.0), Leases(store, 30.0)
    thread = begin(mine)
    mine.save(thread, None)
    assert isinstance(yours.open("t-1", None, None), Taken)
    mine.save(thread, None, last=True)
    begin(yours)
    for leases in (mine, yours):
        leases.stop()


def test_a_lease_that_was_not_renewed_in_time_is_overdue_until_it_is_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    database = open_database(f"sqlite:///{tmp_path / 'guard.db'}")
    store = SqlThreads(database)
    mine, yours = Leases(store, 60.0), Leases(store, 60.0)
    thread = begin(mine)
    assert not mine.overdue(thread)
    now[0] += 59
    assert mine.renew()
    now[0] += 59
    assert not mine.overdue(thread)
    now[0] += 2
    assert mine.overdue(thread)
    mine.confirm(thread, None)
    assert not mine.overdue(thread)
    assert isinstance(yours.open("t-1", None, None), Taken)
    now[0] += 61
    begin(yours)
    assert mine.overdue(thread)
    with pytest.raises(LeaseLost):
        mine.confirm(thread, None)
    for leases in (mine, yours):
        leases.stop()
    database.close()


def wait_for(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_leases_are_renewed_as_long_as_any_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    database = open_database(f"sqlite:///{tmp_path / 'guard.db'}")
    store = SqlThreads(database)
    mine, yours = Leases(store, 0.3), Leases(store, 30.0)
    thread = begin(mine)

    def renewed() -> bool:
        taken = yours.open("t-1", None, None)
        assert isinstance(taken, Taken), "it was taken over although its owner lives"
        return taken.until == pytest.approx(now[0] + 0.3)

    for _ in range(4):  # longer than a lease
        wait_for(renewed)
        now[0] += 0.1
    mine.close(thread)
    begin(yours)
    yours.stop()
    mine.stop()
    database.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_is_another_owner(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'guard.db'}")
    leases = Leases(SqlThreads(database), 30.0)
    thread = begin(leases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn where other threads run
        child = os.fork()
    if not child:
        try:
            taken = leases.open("t-1", None, None)
            other = leases.open("t-2", None, ThreadState("t-2"))
            os._exit(0 if isinstance(taken, Taken) and isinstance(other, Opened) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    leases.save(thread, None, last=True)
    assert isinstance(leases.open("t-2", None, None), Taken)
    leases.stop()
    database.close()


def test_what_becomes_of_conversations_is_noted(store: ThreadStore) -> None:
    leases = Leases(store, 30.0)
    thread = begin(leases)
    for generation_id in ("conv_1", "conv_2", "conv_3", "conv_4"):
        leases.note_generation(thread, generation_id, "begun")
    leases.note_generation(thread, "conv_2", "kept")
    leases.note_generation(thread, "conv_3", "deleted")
    thread.generation_id = "conv_4"
    leases.close(thread)
    assert [each.id for each in store.unused_generations(time.time() + 1)] == ["conv_1"]
    assert {each.id for each in store.generations("t-1")} == {"conv_1", "conv_2", "conv_4"}
    leases.stop()


def test_a_vector_store_is_known_by_its_set_of_files(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'guard.db'}")
    leases = Leases(SqlThreads(database), 30.0)
    leases.note_vector_store(["file-b", "file-a", "file-b"], "vs_1", 77.0)
    assert leases.known_vector_store(["file-a", "file-b"]) == "vs_1"
    assert leases.known_vector_store(["file-a"]) is None
    leases.forget_vector_store("vs_1")
    assert leases.known_vector_store(["file-a", "file-b"]) is None
    database.close()


def test_in_memory_vector_stores_are_left_for_the_server_to_find() -> None:
    leases = Leases(MemoryThreads(), 30.0)
    leases.note_vector_store(["file-a"], "vs_1", None)
    assert leases.known_vector_store(["file-a"]) is None
