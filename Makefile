# Stoker's commands. `make help` lists them; all run from a fresh clone with nothing but Python and make.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LAYERS := schemas topology databases producers consumers operations testing
# Most tests wait for Kafka rather than compute, so more of them run at once than small machines have cores. Each process
# takes one test after the other, the long ones early (tests/support/long_tests.py), so that all end at about one time.
TEST_PROCESSES ?= 4
ARGS ?=
# What `make chaos` does; a seed is one plan of jobs and faults. `ARGS=--help` lists more options.
SEED ?= 2013
JOBS ?= 100000
FAULTS ?= 30
NODES ?= 3

# The newest Python that is new enough and really runs; PYTHON=/path/to/python overrides the choice.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	$$name -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && echo $$name && break; done)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak chaos check bench broker format reference clean

help: ## list these commands
	@echo "make <command>:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/    \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

setup: $(READY) ## make .venv with everything in it (again only when the dependencies change)

demo: $(READY) ## real flights through real workers, one of them killed, with the balance at the end
	$(BIN)/python -m examples.demo $(ARGS)

test: $(READY) ## the whole suite on a real Kafka, but the soak tests
	$(BIN)/pytest -q -n $(TEST_PROCESSES) --dist load --maxschedchunk 1 -m "not soak" $(ARGS)

soak: $(READY) ## the long tests: many jobs, many kills
	$(BIN)/pytest -q -m soak --timeout 3600 $(ARGS)

chaos: $(READY) ## a fleet under load and under fire, judged from outside: SEED= JOBS= FAULTS= NODES=
	@cd tests && ../$(BIN)/python -m chaos --seed $(SEED) --jobs $(JOBS) --faults $(FAULTS) --nodes $(NODES) $(ARGS)

check: $(READY) ## format, lint, strict types, import direction, the documents' code blocks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	MYPYPATH=$(VENV)/typed $(BIN)/mypy -p stoker -p examples
	@# from inside, since tests/schemas and schemas/ would be one module from here
	for part in tests bench; do (cd $$part && MYPYPATH=../$(VENV)/typed:. ../$(BIN)/mypy \
		--config-file ../pyproject.toml --cache-dir ../.mypy_cache/$$part .) || exit 1; done
	if [ -d tests/typing ]; then $(BIN)/pyright --pythonpath $(BIN)/python; fi
	$(BIN)/pytest -q tests/project/test_imports.py tests/documents/test_documents.py -m "not documents_run"

bench: $(READY) ## measure throughput and latency beside a bare client, in the same run
	$(BIN)/python bench/run.py $(ARGS)

broker: $(READY) ## start this folder's embedded Kafka and print its address
	$(BIN)/stoker broker start $(ARGS)

format: $(READY) ## format the code and fix what the linter can
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

reference: $(READY) ## write docs/reference.md, commands.md and modules.md from docstrings and help
	cd tests && ../$(BIN)/python -m support.reference_page

clean: ## delete .venv, caches and build results; the embedded broker's data stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { \
		echo "Stoker needs Python 3.11 or newer, and found none: install one, or name it: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { echo "Stoker needs Python 3.11 or newer, which $(PYTHON) is not"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: install its venv package (python3-venv on Debian), or name another PYTHON"; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON): a minute or two the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@mkdir -p $(VENV)/typed/stoker
	@for layer in $(LAYERS); do ln -sfn ../../../$$layer $(VENV)/typed/stoker/$$layer; done
	@ln -sfn ../../examples $(VENV)/typed/examples
	@$(BIN)/python -c 'from stoker.operations.broker.java import find_jars; find_jars(print)' 2>/dev/null \
		|| echo "the jars of Kafka could not be fetched: that is tried again when a broker is started"
	@touch $@
