# Five verbs: install, run, test, check, bench. Nothing is needed beforehand but Python 3.11 or later.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

# The stamps tell what the environment holds; dependencies that change make them stale.
RUN_STAMP := $(VENV)/.stamp-run
DEV_STAMP := $(VENV)/.stamp-dev

.PHONY: install run test check bench

install: $(RUN_STAMP)

run: $(RUN_STAMP)
	$(BIN)/antiphon models fetch
	exec $(BIN)/antiphon serve

test: $(DEV_STAMP)
	$(BIN)/antiphon models fetch
	$(BIN)/python -m pytest tests/core --cov=antiphon.core --cov-branch --cov-fail-under=100 --cov-report=term:skip-covered
	$(BIN)/python -m pytest --ignore=tests/core $(if $(LONG),,-m "not long") -rs

check: $(DEV_STAMP)
	$(BIN)/ruff format --check src tests bench
	$(BIN)/ruff check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV_STAMP)
	$(BIN)/antiphon models fetch
	$(BIN)/python bench/run.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Antiphon needs Python 3.11 or later, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[local,plot,inspect]'
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $@ $(RUN_STAMP)
