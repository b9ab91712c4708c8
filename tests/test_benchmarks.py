"""The benchmarks measure two sides that do the same, and see what goes wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest

from assistantguard import AssistantGuard
from benchmarks import _streams, concurrency, dropin, overhead
from benchmarks._conversations import ConversationServer, message_of
from benchmarks.canned import DELTAS, CannedServer


def test_it_prints_one_json_document_with_all_ratios(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repeats = overhead.measure_import
    monkeypatch.setattr(overhead, "measure_import", lambda: repeats(1))
    monkeypatch.setattr(overhead, "WARM_UP", 0)
    overhead.main(["--json", "--turns", "10"])
    document = json.loads(capsys.readouterr().out)
    for colour in ("sync", "async"):
        row = document[colour]
        assert row["ratio"] > 0
        assert row["guard_us"] > 0
        assert row["raw_us"] == pytest.approx((row["plain"]["raw_us"] + row["tool"]["raw_us"]) / 2, rel=0.01)
    imports = document["import"]
    for prefix in ("", "cold_"):
        both, openai_alone = imports[f"{prefix}assistantguard_ms"], imports[f"{prefix}openai_ms"]
        assert both > openai_alone > 0
        assert imports[f"{prefix}ratio"] == pytest.approx(both / openai_alone, rel=0.01)


def test_imports_are_measured_with_byte_code_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    overhead.import_once(str(tmp_path))
    written = {path.name.partition(".")[0] for path in tmp_path.rglob("*.pyc")}
    assert {"guard", "_core", "_client"} <= written


def test_streams_print_one_json_document_with_both_colours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_streams, "WARM_UP", 0)
    overhead.main(["--json", "--stream", "--turns", "10"])
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["stream"]
    for colour in ("sync", "async"):
        row = document["stream"][colour]
        assert row["deltas"] == len(DELTAS) > 300
        for name in ("first_delta", "cpu_per_delta", "cpu_per_later_delta"):
            ratio = row[f"{name}_guard_us"] / row[f"{name}_raw_us"]
            assert row[f"{name}_ratio"] == pytest.approx(ratio, rel=0.01)


def test_a_stream_that_loses_a_piece_is_not_measured() -> None:
    _streams.check_text(DELTAS)
    with pytest.raises(RuntimeError, match="pieces"):
        _streams.check_text(DELTAS[:-1])


def test_a_canned_stream_is_what_the_official_client_reads() -> None:
    with CannedServer().client() as client:
        kinds = []
        for event in client.responses.create(model="gpt-6-luna", input="Hello", stream=True):
            if event.type == "response.completed":
                assert event.response.output_text == "".join(DELTAS)
            kinds.append(event.type)
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[4:-4] == ["response.output_text.delta"] * len(DELTAS)
    assert kinds[-1] == "response.completed"


def test_sides_that_send_different_requests_are_not_compared() -> None:
    server = CannedServer()
    with server.client() as client:
        bot = AssistantGuard(client, overhead.assistant())
        raw = overhead.raw_turns(client)
        overhead.check_same(server, lambda: raw("Hello"), lambda: bot.chat("Hello"))
        with pytest.raises(RuntimeError, match="do not send the same"):
            overhead.check_same(server, lambda: raw("Hello"), lambda: bot.chat("Good morning"))


def test_sides_that_make_more_requests_are_not_compared() -> None:
    made = {("plain", "raw"): 10, ("plain", "guard"): 10, ("tool", "raw"): 20, ("tool", "guard"): 21}
    with pytest.raises(RuntimeError, match="as many requests"):
        overhead.check_count(made)


def test_too_few_turns_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        overhead.main(["--turns", "9"])
    assert "--turns is 9, the least is one batch: 10" in capsys.readouterr().err


def test_the_drop_in_prints_one_json_document_of_turns_and_latencies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dropin, "WARM_UP", 0)
    dropin.main(["--json", "--turns", "10", "--waits", "1"])
    document = json.loads(capsys.readouterr().out)
    for name in ("cpu", "wall"):
        row = document[name]
        assert row["ratio"] == pytest.approx(row["dropin_us"] / row["by_hand_us"], rel=0.01)
    assert 0 < document["latency_ms"] <= document["latency_longest_ms"]
    assert document["one_second_polling_ms"] > 0
    with pytest.raises(SystemExit):
        dropin.main(["--waits", "0"])
    assert "--waits is 0, the least is 1" in capsys.readouterr().err


def test_a_crowd_prints_one_json_document_in_which_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(concurrency, "IDLE_THREADS", 60)
    concurrency.main(["--json", "--conversations", "12", "--turns", "3"])
    document = json.loads(capsys.readouterr().out)
    assert (document["conversations"], document["turns"], document["seed"]) == (12, 3, 0)
    assert document["turns_per_second"] > 0
    own = document["steady"]["own_ms"]
    for cut in ("p50", "p99"):
        assert document[f"added_ms_{cut}"] == pytest.approx(own["guard"][cut] - own["raw"][cut], abs=0.011)
    assert 0 < document["bytes_per_idle_thread"] < 10 * 1024
    for load in ("rush", "steady"):
        assert set(document[load]["turns"]) == {"guard", "raw"}
        assert not any(count for losses in document[load]["turns"].values() for count in losses.values())
        assert document[load]["own_ms"]["guard"]["p50"] > 0
    assert document["turns_lost"] == document["turns_doubled"] == 0


def test_a_server_counts_messages_that_do_not_come_as_they_were_sent() -> None:
    server = ConversationServer()

    async def send() -> None:
        async with server.client() as client:
            first, second = [(await client.conversations.create()).id for _ in range(2)]

            async def say(place: str, conversation: int, number: int) -> None:
                text = message_of(conversation, number, asks_tool=False)
                items: Any = [{"type": "message", "role": "user", "content": text}]
                await client.responses.create(model="gpt-6-luna", conversation=place, input=items)

            for number in (0, 2, 1, 1):
                await say(first, 0, number)
            await say(second, 1, 0)
            await say(second, 0, 3)
            with pytest.raises(openai.BadRequestError):
                await asyncio.gather(say(first, 0, 4), say(first, 0, 5))

    asyncio.run(send())
    losses = server.losses(2, 6)
    assert losses.lost == 6  # the refused one, and five of the second conversation
    assert (losses.doubled, losses.out_of_order, losses.misplaced, losses.refused) == (1, 2, 1, 1)
    assert losses.any


def test_a_call_without_the_output_that_is_due_is_refused() -> None:
    server = ConversationServer()

    async def send() -> None:
        async with server.client() as client:
            place = (await client.conversations.create()).id
            for number, asks_tool in enumerate((True, False)):
                text = message_of(0, number, asks_tool=asks_tool)
                items: Any = [{"type": "message", "role": "user", "content": text}]
                await client.responses.create(model="gpt-6-luna", conversation=place, input=items)

    with pytest.raises(openai.BadRequestError):
        asyncio.run(send())
    assert server.losses(1, 2).refused == 1


def test_a_lost_turn_fails_the_benchmark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    losses = {"guard": {"lost": 1, "doubled": 0}, "raw": {"lost": 0, "doubled": 0}}
    spoilt = {"rush": {"turns": losses}, "steady": {"turns": losses}}
    monkeypatch.setattr(concurrency, "measure", lambda *arguments: spoilt)
    with pytest.raises(SystemExit) as ended:
        concurrency.main(["--json"])
    assert ended.value.code == 1
    assert json.loads(capsys.readouterr().out) == spoilt


@pytest.mark.parametrize(("option", "value"), [("--conversations", "1"), ("--turns", "0")])
def test_a_crowd_that_is_too_small_is_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        concurrency.main([option, value])
    assert f"{option} is {value}, the least is" in capsys.readouterr().err
