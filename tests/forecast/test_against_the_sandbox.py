from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from benchmarks import forecast


@pytest.mark.parametrize(("traffic", "scale"), [("growing", 1.0), ("long", 0.5), ("rotating", 0.5)])
def test_the_forecast_from_the_first_third_of_a_month_is_within_a_tenth_of_the_bill_of_the_rest(
    traffic: str, scale: float
) -> None:
    found = forecast.measure(traffic, scale)
    assert found["known"] < found["messages"] / 2
    assert abs(found["error"]) < 0.1
    assert found["in_range"]
    # Another twenty days at the same cost a day would be wrong where threads or their number grow.
    naive = abs(Decimal(found["naive"]) / Decimal(found["bill"]) - 1)
    assert traffic == "rotating" or naive > Decimal("0.15")


def test_the_benchmark_prints_forecast_beside_bill(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(kind: str, scale: float, seed: int) -> dict[str, Any]:
        assert (scale, seed) == (0.5, 7)
        money = dict.fromkeys(("billed_before", "naive", "forecast", "low", "high"), "0.02")
        return {"messages": 100, "bill": "0.025", "error": -0.2, **money, "kind": kind}

    monkeypatch.setattr(forecast, "measure", measure)
    forecast.main(["--json", "--scale", "0.5", "--seed", "7", "--traffic", "long", "--traffic", "steady"])
    assert list(json.loads(capsys.readouterr().out)) == ["long", "steady"]
    forecast.main(["--scale", "0.5", "--seed", "7"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[3:8]] == list(forecast.TRAFFIC)
    assert "-20.0%" in lines[3]


def test_a_scale_that_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        forecast.main(["--scale", "0"])
    assert "--scale is 0.0, it must be from 0.25 to 100" in capsys.readouterr().err
