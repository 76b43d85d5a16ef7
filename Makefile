# make venv       the environment in .venv, with the package and its test tools
# make demo       push, copy, show and verify a small image, on any machine with Python 3.10 or newer
# make test       everything CI checks; as root it installs the Debian packages it needs first
# make test-deps  only that; elsewhere than as root it names the missing packages
# make check      ruff and mypy
# make trust      promotions killed at fifty points of an apply, and applied again
# make bench      measure against other tools, in at most 15 minutes; writes docs/benchmarks
# make bench-full the same with more runs and the rows that take long

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INSTALLED := $(VENV)/as-on-an-agent
WORKERS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=
KILL_POINTS ?= 50

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv demo test test-deps check trust bench-program bench bench-full clean

help:
	@sed -n 's/^# make/make/p' Makefile

venv: $(STAMP)

$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e '.[test]' < /dev/null
	touch $@

demo: venv
	PATH="$(CURDIR)/$(BIN):$$PATH" sh docs/demo.sh

test-deps:
	PYTHON='$(PYTHON)' sh tests/support/install-packages.sh tests/debian-packages.txt

check: venv
	$(BIN)/ruff check .
	$(BIN)/mypy

test: test-deps check
	$(BIN)/pytest -n $(WORKERS) --durations=20 $(PYTEST_ARGS)

trust: test-deps venv
	KILL_POINTS=$(KILL_POINTS) $(BIN)/pytest -n $(WORKERS) tests/trust $(PYTEST_ARGS)

# What is measured is the package as it is installed on an agent: without what the tests and an editable installation add.
bench-program: venv
	rm -rf build $(INSTALLED)
	$(PYTHON) -m venv $(INSTALLED)
	$(INSTALLED)/bin/python -m pip install -q . < /dev/null
	$(BIN)/python -m pip install -q -e '.[test,bench]' < /dev/null

bench: bench-program
	PATH="$(CURDIR)/$(INSTALLED)/bin:$$PATH" $(BIN)/python -m tests.benchmarks --output docs/benchmarks $(BENCH_ARGS)

bench-full: bench-program
	PATH="$(CURDIR)/$(INSTALLED)/bin:$$PATH" $(BIN)/python -m tests.benchmarks --full --runs 10 --output docs/benchmarks $(BENCH_ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info build dist
