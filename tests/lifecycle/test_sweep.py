from __future__ import annotations

import json
import threading
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from assistantguard import ConfigurationError, ThreadRotation
from assistantguard.events import ConversationDeleted, HoldsExpired, ThreadArchivedEvent, ThreadDeleted
from assistantguard.ledger import Claim, SqlLedger
from assistantguard.lifecycle import SweepReport, consent_to_deletion, sweep, withdraw_consent_to_deletion
from assistantguard.sandbox import Fault
from assistantguard.storage import Opened, open_database
from tests.lifecycle.office import DAY, Office

DELETE = "DELETE /conversations/{id}"


def counts(report: SweepReport) -> dict[str, tuple[int, int]]:
    return {part.name: (part.found, part.done) for part in report.parts if part.found}


def test_threads_that_nobody_used_for_thirty_days_are_archived(any_office: Office) -> None:
    any_office.chat("u-1", "old")
    any_office.later(20)
    any_office.chat("u-2", "young")
    any_office.later(10.5)
    looked = any_office.sweep(apply=False)
    assert counts(looked) == {"archive": (1, 0)}
    assert not looked.applied
    assert any_office.names(archived=True) == []
    assert any_office.told() == []
    assert counts(any_office.sweep()) == {"archive": (1, 1)}
    assert any_office.names(archived=True) == ["old"]
    assert any_office.names(archived=False) == ["young"]
    (event,) = any_office.events
    assert isinstance(event, ThreadArchivedEvent)
    assert (event.thread_id, event.user) == (looked.archive.ids[0], "u-1")
    assert counts(any_office.sweep()) == {}


def test_a_thread_that_somebody_drives_is_left_alone(office: Office) -> None:
    office.chat("u-1", "busy")
    (info,) = office.threads()
    office.later(31)
    now = info.last_used_at + 31 * DAY
    assert isinstance(office.store.open(info.id, "another machine", 600.0, now, user="u-1"), Opened)
    report = office.sweep()
    assert (report.archive.done, report.archive.left) == (0, {"in use": 1})
    assert office.names(archived=True) == []
    assert office.told() == []


def test_a_thread_that_was_used_while_the_sweep_went_on_is_not_archived(office: Office) -> None:
    office.chat("u-1", "first", "second")
    office.later(31)

    def use(part: str, number: int, total: int) -> None:
        if part == "archive" and number == 0:
            office.chat("u-1", "first", "second")

    report = office.sweep(progress=use)
    assert (report.archive.found, report.archive.done) == (2, 0)
    assert office.names(archived=True) == []


def test_archived_threads_are_deleted_after_a_year_only_with_consent(any_office: Office) -> None:
    any_office.chat("u-1", "a", "b")
    any_office.later(31)
    any_office.sweep()
    any_office.later(366)
    listed = any_office.sweep()
    assert (listed.delete.found, listed.delete.done) == (2, 0)
    assert listed.delete.left == {"no consent to deletion": 2}
    assert len(any_office.sandbox.conversations) == 2

    any_office.consent()
    any_office.told()
    looked = any_office.sweep(apply=False)
    assert (looked.delete.found, looked.delete.done, looked.delete.left) == (2, 0, {})
    report = any_office.sweep()
    assert counts(report) == {"delete": (2, 2), "conversations": (2, 2)}
    assert any_office.threads() == []
    assert any_office.sandbox.conversations == []
    assert sorted(any_office.told()) == [*["conversation.deleted"] * 2, *["thread.deleted"] * 2]
    assert counts(any_office.sweep()) == {}


def test_a_deletion_tells_on_whose_word(office: Office) -> None:
    office.chat("u-1", "a")
    office.later(31)
    office.sweep()
    office.later(366)
    office.consent()
    office.events.clear()
    office.sweep()
    (event,) = (each for each in office.events if isinstance(each, ThreadDeleted))
    assert (event.reason, event.user) == ("consent: Ada, the terms of use say so", "u-1")


def test_a_consent_to_a_later_deletion_is_not_enough(office: Office) -> None:
    office.chat("u-1", "a")
    office.later(31)
    office.sweep()
    office.consent(days=365)
    office.later(100)
    report = office.sweep(delete_after=timedelta(days=90))
    assert report.delete.left == {"the consent is to a later deletion": 1}
    office.consent(days=90)
    assert office.sweep(delete_after=timedelta(days=90)).delete.done == 1


def test_a_consent_that_was_withdrawn_is_none(office: Office) -> None:
    office.consent()
    assert office.sweep().consent is not None
    assert withdraw_consent_to_deletion(office.url)
    assert not withdraw_consent_to_deletion(office.url)
    assert office.sweep().consent is None
    rows = office.database.query("SELECT words, withdrawn_at IS NOT NULL FROM guard_consents")
    assert rows == [("Ada, the terms of use say so", 1)]


def test_without_a_key_nothing_is_deleted(office: Office) -> None:
    office.chat("u-1", "a")
    office.store.generation_begun("nobody's", "conv_lost", 1.0)
    office.later(31)
    office.sweep(key=False)
    office.consent()
    office.later(366)
    report = office.sweep(key=False)
    assert (report.delete.found, report.delete.left) == (1, {"no key": 1})
    assert (report.conversations.found, report.conversations.left) == (1, {"no key": 1})
    assert office.names() == ["a"]


def test_what_the_server_does_not_delete_stays_known_until_it_does(office: Office) -> None:
    office.chat("u-1", "a", "b", "c")
    office.later(31)
    office.sweep()
    office.later(366)
    office.consent()
    office.sandbox.inject(Fault.server_error(503, rate=1.0, endpoint=DELETE, times=8))
    report = office.sweep()
    assert (report.delete.done, report.conversations.done, report.conversations.failed) == (3, 1, 2)
    assert report.failed == 2
    assert len(office.sandbox.conversations) == 2
    again = office.sweep()
    assert counts(again) == {"conversations": (2, 2)}
    assert office.sandbox.conversations == []


def test_a_server_that_always_fails_is_not_asked_for_ever(office: Office) -> None:
    for number in range(20):
        office.store.generation_begun("nobody's", f"conv_{number}", 1.0)
    office.sandbox.inject(Fault.server_error(500, should_retry=False, rate=1.0, endpoint=DELETE))
    report = office.sweep()
    assert (report.conversations.found, report.conversations.done) == (20, 0)
    assert report.conversations.failed < 20


def test_a_conversation_that_is_gone_at_the_server_counts_as_deleted(office: Office) -> None:
    office.store.generation_begun("nobody's", "conv_gone", 1.0)
    assert counts(office.sweep()) == {"conversations": (1, 1)}
    (event,) = office.events
    assert isinstance(event, ConversationDeleted)
    assert event.generation_id == "conv_gone"


def test_a_key_that_is_refused_ends_the_sweep_with_the_mend(office: Office) -> None:
    office.store.generation_begun("nobody's", "conv_1", 1.0)
    with (
        office.client.with_options(api_key="sk-wrong-key") as stranger,
        pytest.raises(ConfigurationError, match="HTTP 401: give one of the project") as caught,
    ):
        sweep(office.url, client=stranger, apply=True, sinks=[])
    assert "sk-wrong-key" not in str(caught.value)
    assert len(office.store.unused_generations(office.later_time())) == 1


def test_a_conversation_that_was_begun_just_now_is_not_unused_yet(office: Office) -> None:
    office.chat("u-1", "a")
    (info,) = office.threads()
    office.store.generation_begun(info.id, "conv_of_a_rotation", info.last_used_at)
    assert counts(office.sweep()) == {}
    office.later(1.1)
    assert office.sweep().conversations.ids == ("conv_of_a_rotation",)


def test_a_conversation_that_a_rotation_keeps_is_kept_as_long_as_its_thread(office: Office) -> None:
    office.chat("u-1", "a", policies=[ThreadRotation(max_turns=1, old="keep")], turns=3)
    assert len(office.sandbox.conversations) == 3
    office.later(31)
    assert counts(office.sweep()) == {"archive": (1, 1)}
    office.consent()
    office.later(366)
    assert office.sweep().conversations.done == 3
    assert office.sandbox.conversations == []


def test_vector_stores_that_no_thread_has_are_deleted_and_their_files_not(office: Office) -> None:
    files = [office.client.files.create(file=(f"{n}.txt", b"text"), purpose="assistants").id for n in range(2)]
    office.chat("u-1", "a", files=files[:1])
    office.chat("u-2", "b", files=files[1:])
    office.later(31)
    office.sweep()
    assert len(list(office.client.vector_stores.list())) == 2
    office.consent()
    office.later(366)
    report = office.sweep()
    assert (report.vector_stores.found, report.vector_stores.done) == (2, 2)
    assert len(list(office.client.vector_stores.list())) == 0
    assert len(list(office.client.files.list())) == 2


def test_the_items_of_a_conversation_go_with_it_when_it_is_scrubbed(office: Office) -> None:
    office.chat("u-1", "a")
    office.later(31)
    office.sweep()
    office.consent()
    office.later(366)
    office.sweep(scrub=True)
    paths = [request.path for request in office.sandbox.requests if request.method == "DELETE"]
    assert len([path for path in paths if "/items/" in path]) == 2
    assert office.sandbox.conversations == []


def test_holds_of_processes_that_are_gone_are_booked_without_a_key(office: Office) -> None:
    ledger = SqlLedger(office.database)
    for number in range(3):
        ledger.reserve(
            f"hold_{number}", [Claim("user:u-1@day", "tokens", Decimal(100))], office.later_time(number - 1.5)
        )
    looked = office.sweep(key=False, apply=False)
    assert (looked.holds.found, looked.holds.done) == (2, 0)
    assert office.sweep(key=False).holds.done == 2
    assert ledger.balance("user:u-1@day", "tokens").committed == 200
    (event,) = office.events
    assert isinstance(event, HoldsExpired)
    assert event.holds == 2


def test_records_of_old_runs_are_forgotten_and_the_books_stay(office: Office) -> None:
    office.chat("u-1", "a", turns=3)
    spent = SqlLedger(office.database).usage(("user",))
    office.later(91)
    looked = office.sweep(apply=False)
    assert looked.old_runs.found == 3
    assert office.sweep().old_runs.done == 3
    assert SqlLedger(office.database).usage(("user",)) == spent


def test_several_sweeps_at_once_change_each_thing_once(any_office: Office) -> None:
    for user in range(4):
        any_office.chat(f"u-{user}", "a", "b", "c")
    any_office.later(31)
    barrier = threading.Barrier(4)
    reports: list[SweepReport] = []

    def one() -> None:
        barrier.wait()
        reports.append(any_office.sweep())

    def all_at_once() -> list[SweepReport]:
        reports.clear()
        threads = [threading.Thread(target=one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(reports) == 4
        return reports

    assert sum(report.archive.done for report in all_at_once()) == 12
    assert any_office.told().count("thread.archived") == 12
    any_office.consent()
    any_office.later(366)
    assert sum(report.delete.done for report in all_at_once()) == 12
    assert any_office.threads() == []
    assert any_office.told().count("thread.deleted") == 12
    any_office.sweep()
    assert any_office.sandbox.conversations == []


def test_progress_is_told_to_the_end(office: Office) -> None:
    office.chat("u-1", "a", "b")
    office.later(31)
    told: list[tuple[str, int, int]] = []
    office.sweep(progress=lambda *step: told.append(step))
    assert told == [("archive", 0, 2), ("archive", 1, 2), ("archive", 2, 2)]


def test_events_are_written_to_a_file(office: Office, tmp_path: Path) -> None:
    office.chat("u-1", "a")
    office.later(31)
    office.sweep(events=tmp_path / "events.jsonl")
    (line,) = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["event"] == "thread.archived"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("archive_after", timedelta(0)),
        ("archive_after", timedelta(days=-1)),
        ("delete_after", 365),
        ("spare", timedelta(days=40_000)),
        ("keep_runs", None),
    ],
)
def test_a_length_of_time_that_is_none_is_refused(office: Office, option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{option} is .*timedelta above 0 and at most"):
        office.sweep(**{option: value})


@pytest.mark.parametrize("words", ["", "   ", "x" * 1_001, "two\nlines", "\x1b[31mred"])
def test_a_consent_that_says_nothing_or_cannot_be_shown_is_refused(office: Office, words: str) -> None:
    with pytest.raises(ConfigurationError, match="consent"):
        consent_to_deletion(office.url, words)
    assert office.sweep().consent is None


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there are no books at"):
        sweep(f"sqlite:///{tmp_path / 'absent.db'}")
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_another_program_is_not_touched(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (id INTEGER)")
    other.commit()
    other.close()
    with pytest.raises(ConfigurationError, match="there are no books at"):
        sweep(f"sqlite:///{path}")
    with pytest.raises(ConfigurationError, match="there are no books at"):
        open_database(f"sqlite:///{path}", create=False)
