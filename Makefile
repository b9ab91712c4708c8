# Two commands: `make demo` and `make test`. Both set up their own environment first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
UV = $(BIN)/uv
READY = $(VENV)/.ready

.PHONY: demo test check tests faults faults-dropin kill kill-dropin lint types format test-oldest test-all clean

demo: $(READY)
	$(BIN)/assistantguard demo

test: check tests

check: lint types

# What drives guards over connections runs in Python's development mode, where nothing may leak. It takes twice as long.
IN_DEVELOPMENT_MODE = tests/guard tests/faults tests/matrix tests/wire
tests: $(READY)
	PYTHONDEVMODE=1 $(BIN)/python -m pytest -n 4 --dist loadfile $(IN_DEVELOPMENT_MODE)
	$(BIN)/python -m pytest -n 4 --dist loadfile $(addprefix --ignore=,$(IN_DEVELOPMENT_MODE))

# Every fault at every transition in every way of calling, and what each ended in.
faults: $(READY)
	$(BIN)/python -m tests.matrix

# The same over the drop-in, its runs polled by another process than the one that created them.
faults-dropin: $(READY)
	$(BIN)/python -m tests.matrix --dropin

# Workers on one database, killed at random instants, and what is lost.
kill: $(READY)
	$(BIN)/python -m benchmarks.kill

# The same with runs of the drop-in.
kill-dropin: $(READY)
	$(BIN)/python -m benchmarks.kill --dropin

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The environment: made once, and again when pyproject.toml changes.
$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "assistantguard needs Python 3.10 or newer; try make PYTHON=python3.12")'
	test -x $(UV) || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
	$(UV) pip install --quiet --python $(BIN)/python --editable '.[all]' --group dev
	touch $@

# The suite on the lowest versions that pyproject.toml allows.
test-oldest: $(READY)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv-oldest
	$(UV) pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct --editable '.[all]' --group dev
	.venv-oldest/bin/python -m pytest -n 4 --dist loadfile

# The suite on every Python from 3.10 up that this machine has.
test-all: $(READY)
	$(BIN)/python tests/every_python.py

clean:
	rm -rf .venv .venv-oldest .venv-py* .pytest_cache .mypy_cache .ruff_cache
