# Two commands do most of it: `make chat` to use Palaver, `make test` to work on it.
# Each target sets up what it needs; PYTHON=... picks the interpreter, ARGS=... goes to the program.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
SOURCES = $(wildcard src tests bench examples)
export PYTHON

.PHONY: help setup chat serve test test-long crash check bench bench-check format lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup: .venv/.all ## make .venv with everything: program, tests, checks, benchmarks
	@:

chat: .venv/.run ## talk to a model (offline without a key); ARGS='--model ...'
	@$(BIN)/palaver chat $(ARGS)

serve: .venv/.run ## serve conversations over HTTP at 127.0.0.1:8642; ARGS='--port 9000 --reload'
	@$(BIN)/palaver serve $(ARGS)

test: .venv/.all ## the budgeted test suite; ARGS='-k name'
	@$(BIN)/pytest -q -n 2 $(ARGS)

test-long: .venv/.all ## the whole test suite, crash loops and large property runs included
	@$(BIN)/pytest -q -n 2 -m "long or not long" -o faulthandler_timeout=3600 $(ARGS)

crash: .venv/.all ## kill a talking program 500 times and check what is left; ARGS='--kills 50'
	@$(BIN)/python -m tests.crash.loop $(ARGS)

check: .venv/.all ## format, lint, types, import contracts, dependencies
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy $(SOURCES)
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/deptry src

bench: .venv/.all ## measure Palaver beside a raw reader and LangChain
	@$(BIN)/python -m bench $(ARGS)

bench-check: .venv/.all ## fail when Palaver has become much slower beside a raw reader
	@$(BIN)/python -m bench.check $(ARGS)

format: .venv/.all ## put the code into shape
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

lock: .venv/.all ## resolve pyproject.toml anew; UPGRADE=1 takes newer versions
	@scripts/lock

clean: ## remove everything that was made here
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage* build dist htmlcov

.venv/.run: requirements.lock pyproject.toml scripts/setup .venv/bin/python
	@scripts/setup run

.venv/.all: requirements-dev.lock pyproject.toml scripts/setup .venv/bin/python
	@scripts/setup all

# Where the interpreter of .venv is gone, this empty rule makes the stamps stale.
.venv/bin/python: ;
