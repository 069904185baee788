# The commands of this project. The virtual environment is made on first use and again when pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# Two processors are enough for four: tests with daemons mostly wait (tests/lab/lanes.py).
WORKERS ?= 4
SECONDS ?= 60
MIXED ?=
SEED ?=
CHAOS_ARGS ?=
BENCH_ARGS ?=

.PHONY: help demo test lint compiled bench fuzz chaos man install image image-test clean

help:
	@echo "make demo    three daemons on this machine: one order, a crash, quorum lost and healed (no root)"
	@echo "make test    lint and all tests; those with network namespaces and real corosync need root (see README.md)"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make fuzz    coverage-guided fuzzing of all that takes bytes from outside; SECONDS=60 for all targets together"
	@echo "make chaos   faults on five real daemons (root); SECONDS=60 of faults, MIXED=1 with real corosync, SEED= to repeat"
	@echo "make bench   totemd beside corosync, all in one run (root); BENCH_ARGS=--quick in 5 minutes, BENCH_ARGS=--help"
	@echo "make compiled the hot modules compiled (C compiler), in .venv-compiled; to be measured beside the plain form"
	@echo "make install the daemon, its user and its units on this machine, started nowhere (root; docs/service.md)"
	@echo "make image   an image for containers, by docker, podman or buildah; BASE= to build on another Debian (docs/service.md)"
	@echo "make image-test  three containers of that image as a cluster (root, buildah)"
	@echo "make man     man pages and shell completion (bash, zsh, fish), into build/man and build/completion"
	@echo "make clean   remove what the above made"

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

demo: $(VENV)/installed
	$(BIN)/python -m totemd.cli.ctl demo

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n $(WORKERS) $(PYTEST_ARGS)

$(VENV)/fuzz-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[fuzz]"
	touch $@

fuzz: $(VENV)/fuzz-installed
	$(BIN)/python tests/fuzz/run_fuzz.py --seconds $(SECONDS)

chaos: $(VENV)/installed
	PYTHONPATH=tests/lab:tests/chaos $(BIN)/python -m totemd_chaos --seconds $(SECONDS) \
		$(if $(MIXED),--mixed) $(if $(SEED),--seed $(SEED)) $(CHAOS_ARGS)

$(VENV)/bench-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
	touch $@

# The compiled form has an environment of its own, so that no stale library stands beside the source.
.venv-compiled/installed: pyproject.toml hatch_build.py $(shell find src -name '*.py')
	test -x .venv-compiled/bin/python || $(PYTHON) -m venv .venv-compiled
	TOTEMD_COMPILE=1 .venv-compiled/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall .
	touch $@

compiled: .venv-compiled/installed

bench: $(VENV)/bench-installed
	PYTHONPATH=tests/lab:bench $(BIN)/python -m totemd_bench $(BENCH_ARGS)

man: $(VENV)/installed
	$(BIN)/python packaging/manuals.py build

# What is given on the command line (DESTDIR=, IMAGE= ...) is in the environment of these.
install:
	packaging/install

image:
	packaging/image/build

image-test: $(VENV)/installed
	PYTHONPATH=tests/lab $(BIN)/python packaging/image/try_cluster.py

clean:
	rm -rf $(VENV) .venv-compiled build/man build/completion .mypy_cache .pytest_cache .ruff_cache .hypothesis
