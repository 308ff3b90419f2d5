# Every target first installs the locked dependencies into .venv, if they have changed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   ?= build/demo
SHOP   ?= build/shop
# Tests that need real data are skipped if this folder does not exist.
export CIRRAY_TEST_DATA ?= $(abspath ../shared/data)

# Parallel test processes, 2 GB each. Many tests only wait for Ray to start, so one more than a machine's two cores.
TEST_PROCESSES ?= 3
PYTEST = $(BIN)/python -m pytest --junitxml=build/junit/$@.xml
PARALLEL := --numprocesses=$(TEST_PROCESSES) --dist=loadgroup --no-loadscope-reorder

.PHONY: install demo serve shop lint test-fast test test-cluster bench lock clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@echo "make demo          draw a small garment catalog, train on it with 2 Ray workers, and index it"
	@echo "make serve         serve the demo's catalog, with a search page on port 8000"
	@echo "make shop CATALOG=FEED  make a product feed searchable (SHOP=build/shop gets the outputs)"
	@echo "make lint          run ruff and mypy"
	@echo "make test-fast     run the tests that need no training and kill no process (about 3 minutes)"
	@echo "make test          run lint and all tests except cluster tests (about 11 minutes)"
	@echo "make test-cluster  run the tests of lost workers and nodes, and of whole manifests; needs root (about 10 minutes)"
	@echo "make bench         run the benchmarks; they print ratios of speed and memory"
	@echo "make lock          update the lock files from pyproject.toml"
	@echo "make clean         delete .venv and build"

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

shop: install
	@test -n "$(CATALOG)" || { echo "give the product feed: make shop CATALOG=products.csv"; exit 2; }
	$(BIN)/python jobs/start.py --catalog "$(CATALOG)" --output $(SHOP)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-fast: install
	$(PYTEST) $(PARALLEL) -m "not slow"

test: lint
	$(PYTEST) $(PARALLEL) -m "not cluster"

# Sequential: these tests count failed searches after a loss, and parallel load would cause failures too.
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
