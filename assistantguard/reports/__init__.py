"""What the guard did and what it cost, from files of telemetry events or the ledger's database."""

from __future__ import annotations

from assistantguard.reports.books import Books, dearness
from assistantguard.reports.database import read_database
from assistantguard.reports.document import report_document
from assistantguard.reports.estimates import Estimates
from assistantguard.reports.groups import Groups
from assistantguard.reports.lines import BadLine, BadLines
from assistantguard.reports.lives import Life, Point
from assistantguard.reports.record import BadRecordError, Record, parse_record
from assistantguard.reports.report import Report, read_report
from assistantguard.reports.tally import RunLine, StepCounts, Tally, Top

__all__ = [
    "BadLine",
    "BadLines",
    "BadRecordError",
    "Books",
    "Estimates",
    "Groups",
    "Life",
    "Point",
    "Record",
    "Report",
    "RunLine",
    "StepCounts",
    "Tally",
    "Top",
    "dearness",
    "parse_record",
    "read_database",
    "read_report",
    "report_document",
]
