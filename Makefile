# One file for people and CI. Each target sets up what it needs; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= $(shell test -x /usr/bin/python3.11 && echo /usr/bin/python3.11 || echo python3.11)
VENV := .venv
BIN := $(VENV)/bin
SECONDS ?=
ROUNDS ?= 20
QUICK ?=

.PHONY: help
help: ## What can be made here
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.ready: requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: check
check: $(VENV)/.ready ## Format, lint, types, layers, shape, citations, generated pages
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/lint-imports
	$(BIN)/mypy

.PHONY: test
test: $(VENV)/.ready ## All tests in their CI form
	$(BIN)/pytest -q -n 2 -m "not long"

.PHONY: test-long
test-long: $(VENV)/.ready ## The full forms of the tests that make test runs reduced
	$(BIN)/pytest -q -m long

.PHONY: lock
lock: $(VENV)/.ready ## Pin the dependencies again, with hashes and without any address
	for name in requirements requirements-dev; do \
	  $(BIN)/uv pip compile -q --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url \
	    --no-emit-find-links --python-version 3.11 $$name.in -o $$name.txt || exit 1; done
