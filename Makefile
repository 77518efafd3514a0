# The verbs of this project; CI calls the same ones. Needs Python >= 3.11, git and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed

# What the environment was made from. By content, so a checkout that touches files installs nothing.
wanted = printf '%s\n' "$(CURDIR)" | cat - requirements.lock pyproject.toml | cksum

.DEFAULT_GOAL := help
.PHONY: help up down setup test test-all lint types docs bench lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

up: setup ## start the stack in the background and say how to talk to it
	@$(BIN)/freehold up --detach

down: setup ## stop the stack, keep its data
	@$(BIN)/freehold down

test: setup ## everything but the slow tests
	$(BIN)/python -m pytest -m "not slow"

test-all: setup ## every test
	$(BIN)/python -m pytest

lint: setup ## style, format, import direction
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup ## strict types
	$(BIN)/mypy

docs: setup ## write the generated pages of docs/reference
	$(BIN)/python docs/generate.py

bench: setup ## measure; prints ratios, keeps nothing
	$(BIN)/python -m benchmarks

setup: ## make .venv from requirements.lock; nothing happens where that was done
	@if [ "$$($(wanted))" != "$$(cat $(STAMP) 2>/dev/null)" ]; then $(MAKE) --no-print-directory $(STAMP); fi

.PHONY: $(STAMP)
$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Freehold needs Python 3.11 or newer: make PYTHON=python3.12 " + "setup")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing what requirements.lock names into $(VENV) (once; about 300 MB)"
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@$(wanted) > $(STAMP)

lock: setup ## write requirements.lock from pyproject.toml, and the locks of optional services
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url --no-header \
		--quiet --upgrade -o requirements.lock pyproject.toml
	$(BIN)/python -m freehold.targets.native.locks

clean: ## remove .venv, caches and build output; a stack's data in .freehold stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build tests/js/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
