# Needs make and Python 3.11 or newer; everything else is installed into .venv on first use.

# The first Python that is new enough; `make PYTHON=/path/to/python3` chooses another.
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$each"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable
FAST := -m "not slow and not gpu"

.DEFAULT_GOAL := help
.PHONY: help install demo up test quick check bench clean

help:		## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

install: $(VENV)/.installed		## make .venv and install; done by the other targets on first use

demo: $(VENV)/.installed		## forget patients of a real hospital data set, and prove it
	@$(BIN)/expunge demo

up: $(VENV)/.installed		## the whole service in the foreground; Ctrl-C stops all of it
	@$(BIN)/expunge up

test: $(VENV)/.installed-test		## every test, against real servers from wheels
	$(BIN)/pytest

quick: check		## check, and the tests that are not marked slow
	$(BIN)/pytest $(FAST)

check: $(VENV)/.installed-test		## lint, types, arrows between modules, migrations
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/pytest -n 0 -k migration tests/test_architecture.py

bench: $(VENV)/.installed		## unlearning against retraining, as JSON
	@$(BIN)/expunge-worker bench unlearn --json

clean:		## remove .venv, caches and the embedded service's data
	rm -rf $(VENV) .expunge build *.egg-info .pytest_cache .hypothesis .ruff_cache .import_linter_cache
	find service worker migrations tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "Expunge needs Python 3.11 or newer: make PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, and this is " + sys.version)'
	@echo "Making $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Expunge into $(VENV): once, and a few minutes, for PyTorch is large"
	@$(PIP) ".[s3,embedded,worker]"
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing what the tests need"
	@$(PIP) ".[s3,embedded,worker,test]"
	@touch $@
