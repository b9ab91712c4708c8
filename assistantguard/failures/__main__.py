"""``python -m assistantguard.failures``: print the table as Markdown."""

from __future__ import annotations

import sys

from assistantguard.failures.page import markdown

if __name__ == "__main__":
    sys.stdout.write(markdown())
