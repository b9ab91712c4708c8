from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from assistantguard import ConfigurationError, Price, PriceBook
from assistantguard.forecast import Assumptions, Forecast, forecast_from_assumptions, forecast_html, forecast_svg
from assistantguard.forecast.plot import write_plot

SVG = "{http://www.w3.org/2000/svg}"


def two() -> list[Forecast]:
    book = PriceBook({"plain": Price(input="1", output="4")})
    given = Assumptions(models=("plain",), rotations=("none", "default"), growth=0.1, messages=60, cache_hits=0.5)
    return forecast_from_assumptions(given, prices=book)


def test_the_picture_has_a_line_and_a_band_for_each_forecast_and_a_dot_for_each_month() -> None:
    found = two()
    root = ET.fromstring(forecast_svg(found, "What <b> will cost"))
    assert root.find(f"{SVG}title").text == "What <b> will cost"  # type: ignore[union-attr]
    assert len(root.findall(f"{SVG}polyline")) == len(root.findall(f"{SVG}polygon")) == 2
    dots = root.findall(f"{SVG}circle")
    assert len(dots) == 24
    said = "".join(dot.find(f"{SVG}title").text or "" for dot in dots)  # type: ignore[union-attr]
    assert f"${found[0].periods[11].cost:,.2f}" in said
    heights = [float(dot.get("cy", "")) for dot in dots[:12]]
    assert heights == sorted(heights, reverse=True), "more is higher up"
    assert all(0 <= height <= 420 for height in heights)


def test_the_page_loads_nothing_and_has_every_figure() -> None:
    found = two()
    page = forecast_html(found)
    assert "src=" not in page
    assert "href=" not in page
    assert "<script" not in page
    assert page.count("http") == page.count("http-equiv") + page.count("http://www.w3.org/2000/svg")
    for each in found:
        for period in each.periods:
            assert f"${period.cost:,.2f}" in page
    assert '<th scope="row">12</th>' in page


def test_a_name_from_outside_stays_text() -> None:
    found = [replace(each, model="<script>x</script>", unpriced=("<i>",)) for each in two()]
    page = forecast_html(found)
    assert "<script" not in page
    assert "&lt;i&gt; is unknown and in no sum" in page


@pytest.mark.parametrize("cost", ["0", "0.000001", "123456789"])
def test_any_amount_can_be_drawn(cost: str) -> None:
    (first, *_) = two()
    amount = Decimal(cost)
    flat = [replace(period, cost=amount, low=amount, high=amount) for period in first.periods]
    root = ET.fromstring(forecast_svg([replace(first, periods=tuple(flat))]))
    assert all(0 <= float(dot.get("cy", "")) <= 420 for dot in root.findall(f"{SVG}circle"))


def test_a_file_is_written_as_its_ending_says(tmp_path: Path) -> None:
    write_plot(tmp_path / "a.svg", two())
    write_plot(tmp_path / "a.HTML", two())
    assert (tmp_path / "a.svg").read_text().startswith("<svg")
    assert (tmp_path / "a.HTML").read_text().startswith("<!doctype html>")
    with pytest.raises(ConfigurationError, match=r"must end in \.svg or \.html"):
        write_plot(tmp_path / "a.png", two())
