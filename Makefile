# `make demo` turns the pictures in examples/ into cartoons; `make test` runs every check.
# Both work in .venv, which they make, and mend when pyproject.toml or constraints.txt changes.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test docs serve

demo: .venv/installed
	mkdir -p demo
	$(BIN)/toonbox examples/*.jpg -o demo --force
	@echo "The cartoons are in $(abspath demo):" && ls demo

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --cov

serve: .venv/installed-server
	$(BIN)/toonbox serve

docs: .venv/installed-docs
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --quiet
	@echo "The pages are in $(abspath site)"

# Editable in both cases, so that neither command undoes what the other has installed.
.venv/installed: .venv/pyvenv.cfg pyproject.toml constraints.txt
	$(INSTALL) --editable .
	touch $@

.venv/installed-dev: .venv/pyvenv.cfg pyproject.toml constraints.txt
	$(INSTALL) --editable '.[dev]'
	touch .venv/installed $@

.venv/installed-server: .venv/pyvenv.cfg pyproject.toml constraints.txt
	$(INSTALL) --editable '.[server]'
	touch .venv/installed $@

.venv/installed-docs: .venv/pyvenv.cfg pyproject.toml constraints.txt
	$(INSTALL) --editable '.[docs]'
	touch .venv/installed $@

.venv/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit("toonbox needs Python 3.11 or newer; say which: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
