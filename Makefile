# One command for each job; `make help` lists them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
ARGS ?=
DATA ?=
export PYTHON
# The lock file names no index and no folder: whoever installs brings their own.
COMPILE = env -u PIP_FIND_LINKS CUSTOM_COMPILE_COMMAND="make lock" .cache/lock/bin/pip-compile --quiet \
	--generate-hashes --strip-extras --allow-unsafe --all-build-deps --no-annotate --newline lf \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options

.PHONY: help setup setup-dev demo test quick chaos lint types format bench quality dashboards previews stack-check broker lock clean

help: ## this list
	@awk -F ':[^#]*## ' '/^[a-z-]+:[^#]*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv with the stream-guard command (Python 3.11+ is all it needs)
	@.ci/setup runtime

setup-dev: ## the same, with what lints, checks and tests
	@.ci/setup dev

demo: setup ## a simulated bank on an embedded broker; ARGS="--seconds 20 --seed 7 --json FILE"
	@$(BIN)/stream-guard demo $(ARGS)

test: lint types ## lint, types and every test, those on a real Apache Kafka included
	@$(BIN)/python -m pytest $(ARGS)

quick: lint types ## lint, types and the tests that need no broker
	@$(BIN)/python -m pytest -m "not kafka and not chaos and not ops" $(ARGS)

chaos: setup-dev ## every fault at full length, 20 to 30 minutes, and a table of what it did; ARGS="--seed N"
	@$(BIN)/python -m pytest tests/chaos -m chaos --full $(ARGS)

lint: setup-dev ## ruff: findings and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup-dev ## mypy, strict
	@$(BIN)/mypy

format: setup-dev ## rewrite the source in the project's format
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: setup-dev ## the benchmark on a real Apache Kafka; ARGS="--json FILE"
	@$(BIN)/python -m tests.benchmarks $(ARGS)

quality: setup-dev ## fit the rules on recorded histories and judge them; DATA=DIR, ARGS="--json FILE"
	@test -n "$(DATA)" || { echo "Say where the histories are: make quality DATA=DIR" >&2; exit 2; }
	@$(BIN)/python -m tests.benchmarks.quality "$(DATA)" $(ARGS)

dashboards: setup-dev ## write Grafana's dashboards anew from docker/grafana/generator
	@$(BIN)/python docker/grafana/generator

previews: setup-dev ## draw the dashboards' main panels for the README: a bank at work, a real Prometheus, five minutes
	@$(BIN)/python -m tests.ops.previews $(ARGS)

stack-check: setup-dev ## what containers would run, checked without an engine: image, compose, Kubernetes, AsyncAPI
	@$(BIN)/python -m pytest tests/stack tests/asyncapi $(ARGS)

broker: setup-dev ## a real Apache Kafka in the foreground, for trying things out
	@$(BIN)/python -m tests.kafka.broker $(ARGS)

lock: ## compile the lock files anew from pyproject.toml; ARGS="--upgrade" takes newer versions
	@test -x .cache/lock/bin/pip-compile || { python3 -m venv .cache/lock && .cache/lock/bin/pip install -q pip-tools==7.6.2; }
	@$(COMPILE) $(ARGS) -o requirements.lock pyproject.toml
	@$(COMPILE) $(ARGS) -c requirements.lock --extra dev -o requirements-dev.lock pyproject.toml

clean: ## remove what was made here: the environment and the caches
	@rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
