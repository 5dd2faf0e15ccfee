# `make demo` turns the pictures in examples/ into cartoons; `make test` runs every check.
# `make page` writes the page as a static site; what it loads from others comes from npm.
# `make serve` serves it on this machine, with a JSON API.
# `make benchmarks` draws the page of growth.png: how time and memory grow.
# All work in .venv, which they make, and mend when pyproject.toml or constraints.txt changes.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

PAGE := src/toonbox/page
VENDOR := $(PAGE)/vendor/pixels.wasm

.PHONY: demo test benchmarks docs page serve

demo: .venv/installed
	mkdir -p demo
	$(BIN)/toonbox examples/*.jpg -o demo --force
	@echo "The cartoons are in $(abspath demo):" && ls demo

test: .venv/installed-dev $(VENDOR)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --cov --numprocesses 2

serve: .venv/installed-server $(VENDOR)
	$(BIN)/toonbox serve

docs: .venv/installed-docs
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --quiet
	@echo "The pages are in $(abspath site)"

page: .venv/installed $(VENDOR)
	$(BIN)/toonbox page -o site-page --force
	@echo "The page is in $(abspath site-page), for any web server; here: $(PYTHON) -m http.server --bind 127.0.0.1 --directory site-page"

# Without npm all but the page works, and its tests are skipped.
$(VENDOR): $(addprefix $(PAGE)/,package.json package-lock.json pixels.ts vendor.js)
	@if command -v npm > /dev/null; then npm ci --no-audit --no-fund --prefix $(PAGE); \
	else echo "The page needs npm: apt-get install npm"; fi

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
