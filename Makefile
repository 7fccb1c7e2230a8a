# `make test` and `make demo` need python3 >= 3.11 and nothing else: what is missing is set up first.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
# Each worker starts servers of its own.
WORKERS ?= 2
# What to test, and how: make test TESTS="tests/core -x"
TESTS ?= tests
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev

.PHONY: help
help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

.PHONY: test
test: lint types contracts cover ## Set up, then check everything: lint, types, import contracts, tests with coverage

.PHONY: demo
demo: $(RUNTIME) ## Set up, then show it working: six agents, one killed, nothing lost
	@$(BIN)/hivebus demo

.PHONY: bench
bench: $(DEV) servers ## Measure against raw redis-py, in the same run
	@$(BIN)/python -m benchmarks

# How long the faults last: make chaos MINUTES=30 SEED=7
MINUTES ?= 12
SEED ?= 1

.PHONY: chaos
chaos: $(DEV) servers ## Break servers, lines and agents for minutes, and write docs/chaos-report.md
	@$(BIN)/python tests/chaos/long_run.py --minutes $(MINUTES) --seed $(SEED) --page docs/chaos-report.md

.PHONY: lint
lint: $(DEV) ## Check style and format
	@echo "==> lint"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(DEV) ## Check types
	@echo "==> types"
	$(BIN)/mypy

.PHONY: contracts
contracts: $(DEV) ## Check who may import whom
	@echo "==> import contracts"
	$(BIN)/lint-imports --no-logo

.PHONY: cover
cover: $(DEV) servers ## Run the tests, with branch coverage of all their processes
	@echo "==> tests"
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses=$(WORKERS) $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

.PHONY: servers
servers:
	@.ci/need redis-server='command -v redis-server' tmux='command -v tmux' gcc='command -v cc || command -v gcc'

.PHONY: format
format: $(DEV) ## Format the code, and correct what can be corrected
	@$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: clean
clean: ## Remove what was made here
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .grimp_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Made again when the dependencies may have changed.
$(RUNTIME): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"error: hivebus needs Python >= 3.11, and $(PYTHON) is {sys.version}")'
	.ci/need python3-venv='$(PYTHON) -c "import ensurepip, venv"'
	echo "==> setting up $(VENV)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --editable '.[all]'
	touch $@

$(DEV): $(RUNTIME)
	@echo "==> installing the tools for development"
	$(PIP) install --group dev
	touch $@
