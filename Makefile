# The two commands: `make drill` (a total loss and the way back, on this computer, no root) and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CONTRACT_BUILD := $(PYTHON) agent/contract/build/build.py
PYTEST_ARGS ?=
DRILL_ARGS ?=
DRILL ?= loss
TRANSFER ?= p2p
LAUNCH ?= soft
SCENARIOS ?=
# Ansible refuses a locale that is not UTF-8.
export LC_ALL := C.UTF-8
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.DEFAULT_GOAL := help
.PHONY: help setup drill test molecule molecule-base bundles image lint format bench contract contract-check lock ci ci-full clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

setup: $(STAMP) ## make the virtual environment (drill and test do it by themselves)

$(STAMP): requirements/dev.txt pyproject.toml agent/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv" >&2; exit 2; }
	@echo "Setting up $(VENV) (about a minute, once)"
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --require-hashes --only-binary :all: -r requirements/dev.txt
	$(BIN)/pip install -q --no-deps --no-build-isolation -e . -e agent
	touch $@

drill: $(STAMP) ## rehearse a disaster on this computer; report in run/report (DRILL=loss or life, TRANSFER=p2p or web, LAUNCH=soft or hard)
	$(BIN)/python -m sharekeeper_devnet.drill --drill $(if $(filter soft,$(LAUNCH)),,$(LAUNCH)-)$(DRILL) -e localnet_transfer=$(TRANSFER) $(DRILL_ARGS)

test: $(STAMP) ## run all tests, two at a time (about a quarter of an hour)
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

molecule: $(STAMP) molecule-base ## play the roles on real Debian hosts of this computer; needs root (SCENARIOS="base topology")
	$(BIN)/python -m tests.molecule $(SCENARIOS)

molecule-base: $(STAMP) ## build the hosts' base image, once (about 40 seconds)
	@$(BIN)/python -m tests.molecule.hosts base

bundles: $(STAMP) ## build what the roles install on machines without a network: dist/*.tar
	$(BIN)/python roles/bundle/files/build.py --to dist

image: $(STAMP) ## build the hard launch's container image, byte for byte, and print its digest; needs root and mmdebstrap
	$(BIN)/python agent/image/build.py --to dist

lint: $(STAMP) ## what pre-commit and CI check: format, lint, types, imports, roles
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline -q

format: $(STAMP) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## measure speed and memory as ratios; prints a table, writes run/bench.json
	$(BIN)/python -m tests.bench

contract: ## build the contract's wasm from source (pinned compiler, a venv of its own, about 2 minutes)
	$(CONTRACT_BUILD)

contract-check: ## build it again and compare with the wasm in the tree
	$(CONTRACT_BUILD) --check

LOCK = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --exclude-newer 7days --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' -q
lock: $(STAMP) ## resolve the lock files again
	$(BIN)/pip install -q 'uv>=0.9'
	$(LOCK) pyproject.toml --extra dev -o requirements/dev.txt
	$(LOCK) pyproject.toml -c requirements/dev.txt -o requirements/agent.txt
	$(LOCK) pyproject.toml requirements/devnet.in -c requirements/dev.txt -o requirements/devnet.txt
	$(LOCK) requirements/node.in -o requirements/node.txt
	@! grep -nE 'https?://|^--|file:' requirements/*.txt

ci: ## everything CI runs, as CI runs it
	.ci/run

ci-full: ci molecule ## everything CI runs, then every Molecule scenario; needs root

clean: ## remove what was built; a running drill is stopped first
	-[ ! -x $(BIN)/python ] || $(BIN)/python -m sharekeeper_devnet.drill --sweep
	-[ ! -d .build/molecule/hosts ] || [ ! -x $(BIN)/python ] || $(BIN)/python -m tests.molecule.hosts destroy --all
	rm -rf $(VENV) run .build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
