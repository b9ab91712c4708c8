"""What traffic will cost: from the books' own history, or from assumptions; and how much of it fits through at once.

::

    from assistantguard.forecast import Assumptions, forecast_from_assumptions

    for each in forecast_from_assumptions(Assumptions(users=100, messages=200, rotations=("none", "default"))):
        print(each.name, each.low, each.cost, each.high)
"""

from __future__ import annotations

from assistantguard.forecast.assumptions import Assumptions, forecast_from_assumptions, read_assumptions
from assistantguard.forecast.document import capacity_document, forecast_document
from assistantguard.forecast.from_history import HistoryOptions, forecast_from_history
from assistantguard.forecast.guides import Scenario, scenario, scenarios
from assistantguard.forecast.history import History, history_of_entries, read_database, read_events
from assistantguard.forecast.plot import forecast_html, forecast_svg
from assistantguard.forecast.result import Forecast, Period
from assistantguard.forecast.thread_cost import (
    CallShape,
    PromptCaching,
    RunCost,
    RunShape,
    ThreadCost,
    ThreadMeter,
    ThreadTerms,
    thread_cost,
)
from assistantguard.forecast.waves import Capacity, LimitFit, Wave, capacity

__all__ = [
    "Assumptions",
    "CallShape",
    "Capacity",
    "Forecast",
    "History",
    "HistoryOptions",
    "LimitFit",
    "Period",
    "PromptCaching",
    "RunCost",
    "RunShape",
    "Scenario",
    "ThreadCost",
    "ThreadMeter",
    "ThreadTerms",
    "Wave",
    "capacity",
    "capacity_document",
    "forecast_document",
    "forecast_from_assumptions",
    "forecast_from_history",
    "forecast_html",
    "forecast_svg",
    "history_of_entries",
    "read_assumptions",
    "read_database",
    "read_events",
    "scenario",
    "scenarios",
    "thread_cost",
]
