# One file for people and CI. Each target sets up what it needs; `make help` lists them.
SHELL := /bin/bash
# Debian's own python3.11 is the optimised build; another one is taken only where it is missing.
PYTHON ?= $(shell test -x /usr/bin/python3.11 && echo /usr/bin/python3.11 || echo python3.11)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --no-input -q
# How long `make run` runs; empty is until Ctrl-C.
SECONDS ?=
# Rounds of `make kill`.
ROUNDS ?= 20
# What `make fuzz` fuzzes (empty is everything), and how long it and `make soak` run.
TARGET ?=
MINUTES ?= 5
# Anything makes `make bench` short.
QUICK ?=
# Processes that share the tests.
JOBS ?= 2

.DEFAULT_GOAL := help

.PHONY: help
help: ## What can be made here
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.ready: requirements-dev.txt pyproject.toml src/outrider/wire/smtp/_scan.c
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "needs python3.11 with venv (Debian: apt-get install python3-venv)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV)"
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@$(BIN)/python tools/build_scan.py
	@touch $@

.PHONY: run
run: $(VENV)/.ready ## The server, the practice internet and a steady mix of mail; SECONDS=20 ends by itself
	@$(BIN)/outrider demo $(if $(SECONDS),--seconds $(SECONDS))

.PHONY: check
check: $(VENV)/.ready ## Format, lint, types, layers, shape, citations, promises, generated pages
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m tools.check_shape
	$(BIN)/python -m tools.check_citations
	$(BIN)/python -m tools.check_promises $(if $(STRICT),--strict)
	$(BIN)/python -m tools.gen_reference --check
	$(BIN)/python -m tools.gen_pictures --check

.PHONY: test
test: $(VENV)/.ready ## All tests in their CI form, then the proofs of all promises
	@rm -f .run/proofs.json
	$(BIN)/pytest -q -rs -n $(JOBS) -m "not long" --proofs .run/proofs.json
	$(BIN)/python -m tools.check_promises --results .run/proofs.json

.PHONY: test-long
test-long: $(VENV)/.ready ## The full forms of the tests that `make test` runs reduced
	$(BIN)/pytest -q -rs -m long --timeout 7200

.PHONY: all
all: check test ## What must pass before a change is handed in

.PHONY: bench
bench: $(VENV)/.ready ## Speed and size beside Postfix and a bare relay; QUICK=1 takes under five minutes
	@$(BIN)/python bench/run.py $(if $(QUICK),--quick)

.PHONY: kill
kill: $(VENV)/.ready ## Kill processes at random under load, ROUNDS times, and account for every message
	@$(BIN)/python -m tests.crash.kill --rounds $(ROUNDS)

.PHONY: fuzz
fuzz: $(VENV)/.ready ## Fuzz the parsers, TARGET=name for one, for MINUTES; what breaks becomes a test
	@$(BIN)/python -m tools.fuzz --minutes $(MINUTES) $(if $(TARGET),--target $(TARGET))

.PHONY: soak
soak: $(VENV)/.ready ## Mixed load with failures for MINUTES; says whether anything goes on growing, and draws it
	@$(BIN)/python -m tools.soak --minutes $(MINUTES)

.PHONY: docs
docs: $(VENV)/.ready ## Write the generated reference pages and draw the pictures
	$(BIN)/python -m tools.check_promises --write
	$(BIN)/python -m tools.gen_reference
	$(BIN)/python -m tools.gen_pictures

.PHONY: peers
peers: ## Install mail servers and stores, databases, HAProxy, swaks, strace and curl for the tests; needs root on Debian, starts nothing
	@bash tools/peers.sh

.PHONY: lock
lock: $(VENV)/.ready ## Pin the dependencies again, with hashes and without any address
	$(BIN)/python -m tools.lock

# Where `make install` puts things. DESTDIR is a staging folder for packagers; nothing installed names it.
PREFIX ?= /usr
SYSCONFDIR ?= /etc
# `lock` brings the pinned dependencies (from the package index that pip is configured for); `none` leaves them to
# whoever packages the server.
DEPENDENCIES ?= lock
SITE = $(DESTDIR)$(PREFIX)/lib/outrider
UNITS = $(DESTDIR)$(PREFIX)/lib/systemd/system
# Laid out as the checkout is, so that every link between pages leads somewhere.
MANUAL = $(DESTDIR)$(PREFIX)/share/doc/outrider

.PHONY: wheel
wheel: $(VENV)/.ready ## The wheel, in dist
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

.PHONY: install
install: $(VENV)/.ready ## Install program, units, man page and example; DESTDIR= PREFIX=/usr DEPENDENCIES=lock
	@set -e; built="$$(mktemp -d)"; trap 'rm -rf "$$built"' EXIT; \
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir "$$built" .; \
	rm -rf "$(SITE).new"; install -d -m 755 "$(SITE).new"; \
	case "$(DEPENDENCIES)" in \
	  lock) $(PIP) install --require-hashes --no-deps --target "$(SITE).new" -r requirements.txt ;; \
	  none) ;; \
	  *) echo "DEPENDENCIES is lock or none"; exit 1 ;; \
	esac; \
	$(PIP) install --no-index --no-deps --target "$(SITE).new" "$$built"/*.whl; \
	rm -rf "$(SITE).new/bin" "$(SITE).new"/outrider-*.dist-info/direct_url.json; \
	$(BIN)/python -I -m compileall -q "$(SITE).new" -s "$(SITE).new" -p "$(PREFIX)/lib/outrider"; \
	chmod -R u+rwX,go+rX,go-w "$(SITE).new"; \
	rm -rf "$(SITE).old"; if [ -e "$(SITE)" ]; then mv "$(SITE)" "$(SITE).old"; fi; \
	mv "$(SITE).new" "$(SITE)"; rm -rf "$(SITE).old"
	@install -d -m 755 "$(DESTDIR)$(PREFIX)/bin" "$(UNITS)" "$(DESTDIR)$(PREFIX)/lib/sysusers.d" \
	  "$(DESTDIR)$(PREFIX)/lib/tmpfiles.d" "$(DESTDIR)$(PREFIX)/share/man/man1"
	@install -d -m 750 "$(DESTDIR)$(SYSCONFDIR)/outrider"
	@sed 's|@PYTHON@|$(shell command -v $(PYTHON))|' packaging/bin/outrider >"$(DESTDIR)$(PREFIX)/bin/outrider.new"
	@chmod 755 "$(DESTDIR)$(PREFIX)/bin/outrider.new"
	@mv "$(DESTDIR)$(PREFIX)/bin/outrider.new" "$(DESTDIR)$(PREFIX)/bin/outrider"
	@install -m 644 packaging/systemd/* "$(UNITS)/"
	@install -m 644 packaging/sysusers.d/outrider.conf "$(DESTDIR)$(PREFIX)/lib/sysusers.d/outrider.conf"
	@install -m 644 packaging/tmpfiles.d/outrider.conf "$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/outrider.conf"
	@sed -i 's|@PREFIX@|$(PREFIX)|g; s|/etc/outrider|$(SYSCONFDIR)/outrider|g' "$(UNITS)"/outrider* \
	  "$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/outrider.conf"
	@rm -rf "$(MANUAL)"; install -d -m 755 "$(MANUAL)"
	@cp -R docs examples changes "$(MANUAL)/"
	@find "$(MANUAL)" -name __pycache__ -prune -exec rm -rf {} +
	@chmod -R u+rwX,go+rX,go-w "$(MANUAL)"
	@install -m 644 packaging/outrider.toml LICENSE *.md "$(MANUAL)/"
	@$(BIN)/python -m tools.gen_manual | sed 's|/etc/outrider|$(SYSCONFDIR)/outrider|g; s|/usr/share|$(PREFIX)/share|g' \
	  >"$(DESTDIR)$(PREFIX)/share/man/man1/outrider.1"
	@chmod 644 "$(DESTDIR)$(PREFIX)/share/man/man1/outrider.1"
	@test -e "$(DESTDIR)$(SYSCONFDIR)/outrider/outrider.toml" || \
	  install -m 640 packaging/outrider.toml "$(DESTDIR)$(SYSCONFDIR)/outrider/outrider.toml"
	@echo "installed below $(DESTDIR)$(PREFIX); next: docs/how-to/install.md"

.PHONY: clean
clean: ## Remove what was set up and what runs left behind
	rm -rf $(VENV) .run .peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
