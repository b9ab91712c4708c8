"""What the guard did and what it cost, from a file of telemetry events."""

from __future__ import annotations

from assistantguard.reports.document import report_document
from assistantguard.reports.lines import BadLine, BadLines
from assistantguard.reports.record import BadRecordError, Record, parse_record
from assistantguard.reports.report import Report, read_report
from assistantguard.reports.tally import RunLine, StepCounts, Tally, Top

__all__ = [
    "BadLine",
    "BadLines",
    "BadRecordError",
    "Record",
    "Report",
    "RunLine",
    "StepCounts",
    "Tally",
    "Top",
    "parse_record",
    "read_report",
    "report_document",
]
