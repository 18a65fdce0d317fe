# STACK=current (default) or openmmlab; PYTHON=interpreter to build on; VENV=folder.
STACK ?= current
VENV ?= $(if $(filter current,$(STACK)),.venv,.venv-$(STACK))
PYTHON ?=
# The first that starts: a version manager's stub may stand on the PATH without its Python.
BASE_PYTHON := $(or $(PYTHON),$(shell for p in python3.11 python3.10 python3 python; do \
    $$p -c '' 2>/dev/null && echo $$p && break; done))
RUN := $(VENV)/bin/python

.PHONY: help setup demo demo-nats demo-cr compare test test-chains test-configs lint format bench
.PHONY: docs clean

help: ## Show this help.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: ## Create the environment with the pinned stack; quick when nothing changed.
	@test -n "$(BASE_PYTHON)" || { echo "setup: no Python found; install Python 3.11"; exit 1; }
	@$(BASE_PYTHON) tools/setup_env.py --stack $(STACK) --venv $(VENV) \
	    $(if $(PYTHON),--python $(PYTHON))

demo: setup ## Supernet, EDO, searched detector on generated data, AP side by side.
	$(RUN) tools/demo.py

demo-nats: setup ## The same chain with NATS: bilevel search, decoding, searched detector.
	$(RUN) tools/demo.py nats

demo-cr: setup ## The same chain with CR-NAS: both supernets and searches, searched detector.
	$(RUN) tools/demo.py cr

compare: setup ## All methods in one network, three seeds, equal budgets; resumes.
	$(RUN) tools/toy_compare.py --seeds 0 1 2

test: setup ## Run the tests.
	$(RUN) -m pytest

test-chains: setup ## Run a chain of each family of the papers' results on generated data.
	$(RUN) tools/reproduce.py chains

test-configs: setup ## Train every config for a step and evaluate it, on generated data; resumes.
	$(RUN) tools/test_configs.py --work-dir work_dirs/test_configs/$(STACK)

lint: setup ## Check style and formatting.
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check

format: setup ## Repair style and formatting.
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format

bench: setup ## Measure speed against nn.Conv2d, beside what is aimed at.
	$(RUN) tools/benchmark.py

docs: setup ## Check every path, command and flag named in README and docs.
	$(RUN) -m pytest tests/test_docs.py

clean: ## Remove caches; keeps environments and results.
	rm -rf .pytest_cache .ruff_cache .hypothesis build *.egg-info
