# Every verb does its own set-up. `make quickstart` and `make test` need only Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKSPACE ?= runs
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export HF_HUB_OFFLINE ?= 1

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-slow lint format compile zoo clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

quickstart: $(VENV)/.laptop ## distil a small student on this machine: select, generate, filter, train, evaluate, register
	@$(BIN)/stillhouse run recipes/quickstart.yaml --workspace $(WORKSPACE)

test: $(VENV)/.dev ## lint, types, layers, and the whole fast test suite with coverage
	@scripts/system-packages chromium
	@scripts/helm >/dev/null
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadgroup --cov --cov-report=term:skip-covered

test-slow: $(VENV)/.dev ## the proofs that take minutes
	$(BIN)/python -m pytest -m slow -n 2 --dist loadgroup --durations=12

lint: $(VENV)/.dev ## ruff, mypy, import-linter, the compiled pipeline is up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -W ignore -m pipelines --check
	$(BIN)/python -m operators.crds --check

format: $(VENV)/.dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

compile: $(VENV)/.laptop ## write pipelines/distillation.yaml
	$(BIN)/python -W ignore -m pipelines

zoo: $(VENV)/.laptop ## train the tiny models again from their seeds (about 20 minutes)
	$(BIN)/python -m stillhouse.zoo

clean: ## remove the environment, caches and results
	rm -rf $(VENV) $(WORKSPACE) .pytest_cache .mypy_cache .ruff_cache .coverage*

$(VENV)/.laptop: pyproject.toml constraints.txt
	@scripts/environment $(PYTHON) $(VENV) laptop

$(VENV)/.dev: pyproject.toml constraints.txt
	@scripts/environment $(PYTHON) $(VENV) dev
