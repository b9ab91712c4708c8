"""``python -m assistantguard.cli``."""

from __future__ import annotations

from assistantguard.cli import main

if __name__ == "__main__":
    main()
