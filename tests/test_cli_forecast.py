from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from assistantguard._core import LEDGER_VARIABLE
from assistantguard.cli.app import app
from assistantguard.forecast import RunShape, ThreadTerms, thread_cost
from assistantguard.ledger import Entry, open_ledger

START = 1_780_000_000.0
DAY = 86_400.0


@pytest.fixture(autouse=True)
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LEDGER_VARIABLE, raising=False)


def run(*arguments: object) -> Any:
    result = CliRunner().invoke(app, ["forecast", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def document(*arguments: object) -> Any:
    done = run(*arguments, "--format", "json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*arguments: object) -> str:
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    return " ".join(done.stderr.split())


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """The address of books with twenty days of three users."""
    url = f"sqlite:///{tmp_path}/guard.db"
    books = open_ledger(url)
    for user in range(3):
        runs = thread_cost(ThreadTerms("gpt-6-luna", 400), [RunShape.of(100, 200)] * 40).runs
        for number, each in enumerate(runs):
            hold = f"h{user}-{number}"
            time = START + (number / 2 + 0.1 * user) * DAY
            entry = Entry(time, f"t{user}", hold, 1, "gpt-6-luna", each.usage, each.cost, user=f"u{user}")
            books.reserve(hold, [], time + 60)
            books.commit(hold, entry)
    books.database.close()
    return url


def test_a_forecast_of_a_database_goes_month_by_month_with_a_range(ledger: str) -> None:
    found = document("--database", ledger, "--until", "2026-06-17T18:26:40Z", "--months", 3)
    (forecast,) = found["forecasts"]
    assert [period["begins"] for period in forecast["periods"]] == ["2026-06-17", "2026-07-18", "2026-08-17"]
    costs = [Decimal(period["cost"]) for period in forecast["periods"]]
    assert costs[0] < costs[1], "threads that grow cost more"
    assert Decimal(forecast["low"]) < Decimal(forecast["cost"]) == sum(costs) < Decimal(forecast["high"])
    assert forecast["periods"][0]["users"] == pytest.approx(3, rel=0.1)
    assert Decimal(forecast["cost_per_user"]) > Decimal(forecast["cost_per_interaction"]) > 0
    assert any("120 messages on 3 threads" in note for note in forecast["notes"])


def test_the_variable_names_the_database_where_nothing_else_is_given(
    ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LEDGER_VARIABLE, ledger)
    found = document("--rotation", "default", "--until", "2026-06-17", "--months", 2)
    assert [each["rotation"] for each in found["forecasts"]] == ["rotation as seen", "rotation default"]
    assert len(document("--users", 5, "--months", 2)["forecasts"]) == 1


def test_a_forecast_of_events(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    record = {"event": "request.settled", "thread_id": "t", "model": "gpt-6-luna", "output_tokens": 20, "cost": "0.001"}
    lines = [
        json.dumps(
            {**record, "run_id": f"r{number}", "time": START + number * 8_000, "input_tokens": 100 + 60 * number}
        )
        for number in range(40)
    ]
    path.write_text("\n".join(lines) + "\nnothing\n")
    done = run("--events", path, "--months", 1)
    assert done.exit_code == 0, done.output
    assert "unknown" in done.stdout, "the events do not say who the users are"
    assert "made from 40 messages on 1 threads" in done.stdout
    assert "events.jsonl:41" in done.stderr


def test_assumptions_are_written_as_a_table_as_csv_and_as_a_picture(tmp_path: Path) -> None:
    options = ["--users", "90:100:120", "--messages", 50, "--months", 2, "--growth", "0.15"]
    done = run(*options, "--plot", tmp_path / "plot.svg")
    assert done.exit_code == 0
    assert "each quantity moved alone" in done.stdout
    assert (tmp_path / "plot.svg").read_text().startswith("<svg")
    rows = list(csv.DictReader(io.StringIO(run(*options, "--format", "csv").stdout)))
    assert [(row["month"], row["users"], row["interactions"]) for row in rows] == [
        ("1", "100.0", "5000.0"),
        ("2", "115.0", "5750.0"),
    ]
    assert all(Decimal(row["low"]) < Decimal(row["cost"]) < Decimal(row["high"]) for row in rows)


def test_options_go_before_a_file_and_prices_before_the_table(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"users": 100, "messages": 1, "fixed_tokens": 0, "models": ["mine"], "caching": False}))
    options = ["--assumptions", path, "--price", "mine=1,2", "--input-tokens", 100, "--output-tokens", 50]
    (found,) = document(*options, "--users", 10, "--months", 1)["forecasts"]
    assert Decimal(found["cost"]) == Decimal("0.002")  # 10 messages: 100 tokens at $1 and 50 at $2 per million
    assert (found["model"], found["caching"]) == ("mine", "no prompt caching")


def test_scenarios_are_listed_and_state_what_they_assume() -> None:
    names = [row["name"] for row in json.loads(run("scenarios", "--format", "json").stdout)["scenarios"]]
    listed = run("scenarios").stdout
    assert all(name in listed for name in names)
    done = run("--scenario", "threads-500-growing", "--months", 2)
    assert "assumed: 500 threads in the first month" in done.stdout
    assert "Side by side" in done.stdout
    assert "70.5 seconds" in run("--scenario", "at-once-100").stdout


def test_capacity_says_which_tier_suffices_and_how_long_it_takes() -> None:
    options = ["--users", 100, "--context-tokens", 1_500, "--input-tokens", 350, "--output-tokens", 500]
    found = document("capacity", *options, "--requests-per-minute", 500, "--tokens-per-minute", 200_000)
    assert (found["tokens"], found["tokens_per_minute"], found["requests_per_minute"]) == (235_000, 235_000, 100)
    assert found["own_limit"]["seconds"] == 70.5
    assert found["tier"] == "1"
    shown = run("capacity", *options, "--model", "gpt-4.1").stdout
    assert "tier 2 suffices" in shown
    rows = list(csv.DictReader(io.StringIO(run("capacity", *options, "--format", "csv").stdout)))
    assert [row["name"] for row in rows] == ["1", "2", "3", "4", "5"]
    unknown = run("capacity", "--users", 5, "--model", "mine", "--price", "mine=1,1")
    assert "the limits of mine are not published here" in unknown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--months", "3"], "there is nothing to go by: give --database URL"),
        (["--users", "1:2"], "--users is '1:2': give a number, or three as LOW:LIKELY:HIGH"),
        (["--users", "-4"], "users is -4.0, it must be a number from 0"),
        (["--users", "4", "--model", "gpt-0-none"], "the price of the model 'gpt-0-none' is not known"),
        (["--users", "4", "--rotation", "often"], "the rotation is 'often': give none, default"),
        (["--users", "4", "--since", "7d"], "--since and --until are of a history"),
        (["--users", "4", "--price", "x=1"], "--price is 'x=1': give MODEL=INPUT,OUTPUT"),
        (["--users", "4", "--plot", "x.png"], "must end in .svg or .html"),
        (["--users", "4", "--assumptions", "none.toml"], "cannot read none.toml"),
        (["--scenario", "none"], "there is no scenario 'none': the scenarios are"),
        (["--scenario", "at-once-50", "--months", "3"], "is of users at once, which take no such options"),
        (["--scenario", "x", "--events", "y"], "--events and --scenario are given: a forecast goes by one of them"),
        (["--events", "none.jsonl", "--users", "3"], "--users is assumed, and --events is history"),
        (["--database", "sqlite:///none.db"], "none.db"),
        (["capacity", "--users", "4", "--tokens-per-minute", "5"], "only one limit is given"),
        (["capacity", "--users", "4", "--model", "gpt-0-none"], "the price of the model 'gpt-0-none' is not known"),
    ],
)
def test_bad_input_is_refused_with_value_limit_and_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(*arguments)
