# Every word here works from a bare checkout: it makes .venv first, and again when pyproject.toml or constraints.txt change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export NUMBA_NUM_THREADS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo test check bench models studies docs clean

help:  ## list these words
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'dipolar needs Python 3.11 or newer; do: make PYTHON=python3.12 $(MAKECMDGOALS)'; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(STAMP)  ## make .venv with dipolar and everything its tests need

demo: $(STAMP)  ## simulate a film, measure it, print where the report is
	$(BIN)/dipolar demo --out demo

test: $(STAMP)  ## all tests with shapes and types checked, then the surface once more imported eagerly
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --jaxtyping-packages=dipolar,beartype.beartype
	EAGER_IMPORT=1 $(BIN)/python -m pytest -q -p no:cacheprovider tests/test_house.py

check: $(STAMP)  ## style, format, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# These take hours, or a GPU, or another program beside: run by hand.
LONG := $(addprefix benchmarks/,train_shipped.py train_tilt.py published.py rvae.py scan_speed.py multislice.py mistilt.py)
bench: $(STAMP)  ## measure accuracy and speed; each benchmark prints its own table
	@set -e; for script in $(filter-out $(LONG),$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python "$$script"; done

models: $(STAMP)  ## train the networks that come with dipolar; hours, minutes on a GPU, and it goes on where it was stopped
	$(BIN)/python benchmarks/train_shipped.py

studies: $(STAMP)  ## both studies of networks at full size, into benchmarks/studies; an hour or two, and they go on likewise
	$(BIN)/dipolar study noise --out benchmarks/studies/noise --workers 2
	$(BIN)/dipolar study cross --out benchmarks/studies/cross --workers 2

docs: $(STAMP)  ## write the generated pages again: docs/cli.md, docs/settings.md, docs/flags.md
	$(BIN)/python docs/generate.py

clean:  ## remove what the words above made
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
