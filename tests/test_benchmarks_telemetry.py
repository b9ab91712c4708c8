"""The benchmark of the sinks prints what each of them adds."""

from __future__ import annotations

import json

import pytest

from benchmarks import telemetry


def test_it_prints_one_json_document_with_every_way_of_telling(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(telemetry, "WARM_UP", 0)
    monkeypatch.setattr(telemetry, "BATCH", 2)
    telemetry.main(["--json", "--turns", "2"])
    document = json.loads(capsys.readouterr().out)
    assert document["turn_us"] > 0
    assert set(document["aims_us"]) < set(document["adds_us"])
    assert {name for way in document["adds_us"] for name in way.split(" + ")} == {
        "structlog debug",
        "structlog info",
        "json lines",
        "opentelemetry",
        "opentelemetry unsampled",
    }
