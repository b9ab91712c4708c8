"""What the guard costs. Run one with ``python -m benchmarks.<name>``."""
