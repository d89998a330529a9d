# Everything below makes its own virtual environment first; it needs only Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
INTEROP ?= --all --repeat 3 --results interop/RESULTS.md
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check interop natlab bench clean

help:
	@echo "make demo    two people behind NATs meet, on a simulated internet (ARGS=--help)"
	@echo "make test    all tests"
	@echo "make check   lint and types"
	@echo "make interop all pairs with other implementations; writes interop/RESULTS.md"
	@echo "make natlab  real NATs in network namespaces: install what it needs, probe every type (root)"
	@echo "make bench   speed beside go, rust, js and py (ARGS=--quick: 3 minutes)"
	@echo "make clean   remove the virtual environment and caches"

demo: $(VENV)/ready
	@$(BIN)/carrick demo $(ARGS)

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest -n auto

check: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

interop: $(VENV)/ready-dev
	$(BIN)/python -m interop run $(INTEROP)

natlab: $(VENV)/ready-dev
	$(BIN)/python -m interop.natlab setup || [ $$? -eq 77 ]
	$(BIN)/python -m interop.natlab table $(ARGS) || [ $$? -eq 77 ]

bench: $(VENV)/ready
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Carrick needs Python 3.11 or newer: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"

$(VENV)/ready: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/ready-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable . --group dev
	@touch $@ $(VENV)/ready
