# make demo, make test, ...: each installs what it needs into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   ?= build/demo
# Tests that need real data are skipped if this folder does not exist.
export CIRRAY_TEST_DATA ?= $(abspath ../shared/data)

# Processes that tests run in side by side. Many only wait, for Ray to start: so one more than two cores. 2 GB each.
TEST_PROCESSES ?= 3
PYTEST = $(BIN)/python -m pytest --junitxml=build/junit/$@.xml
SIDE_BY_SIDE := --numprocesses=$(TEST_PROCESSES) --dist=loadgroup

.PHONY: install demo serve lint test-fast test test-cluster bench lock clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@echo "make demo          draw a small garment catalog, train on it with 2 Ray workers, index it"
	@echo "make serve         search that catalog in the browser"
	@echo "make lint          ruff and mypy"
	@echo "make test-fast     tests that train nothing and kill nothing: about 2 minutes"
	@echo "make test          lint, then all tests but those of clusters: about 10 minutes"
	@echo "make test-cluster  tests on Ray clusters of several machines, with losses; as root, about 10 minutes"
	@echo "make bench         speed and memory, as ratios"
	@echo "make lock          resolve the dependencies again"

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "cirray needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "uv>=0.9,<1"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: install
	$(BIN)/python jobs/demo.py --output $(DEMO)

serve: install
	$(BIN)/python -m serve --serve.bundle $(DEMO)/training/bundle --serve.index $(DEMO)/index --serve.name "Demo garments"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-fast: install
	$(PYTEST) $(SIDE_BY_SIDE) -m "not slow"

test: lint
	$(PYTEST) $(SIDE_BY_SIDE) -m "not cluster"

# One after the other: a lost node is counted in failed searches, which other work beside it would cause too.
test-cluster: install
	$(PYTEST) -m cluster

bench: install
	for bench in benchmarks/bench_*.py; do $(BIN)/python $$bench || exit 1; done

LOCK = --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate
lock:
	uv pip compile pyproject.toml --extra dev $(LOCK) --output-file requirements.lock
	uv pip compile pyproject.toml --constraint requirements.lock $(LOCK) --output-file requirements-runtime.lock

clean:
	rm -rf $(VENV) build
