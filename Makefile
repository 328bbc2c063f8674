# The commands of this project. `make run` on a fresh machine is all it takes to talk.

PYTHON ?= python3
CONFIG ?= configs/nano.toml
PORT ?=
ARGS ?=
MANIFEST ?= data/acceptance/development/manifest.jsonl

VENV := .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) -m pip install --disable-pip-version-check --no-input --progress-bar off --constraint constraints.txt

.DELETE_ON_ERROR:
.PHONY: help install run test check latency soak bench browser

help:
	@echo "make run      start the server on http://127.0.0.1:8080 (PORT=, CONFIG= change it)"
	@echo "make test     run every test (ARGS= goes to pytest)"
	@echo "make check    style, types and import directions"
	@echo "make latency  how long a caller waits for the first sound (MANIFEST= names the questions)"
	@echo "make soak     many calls over a lossy network, with a report (ARGS=--help lists what to ask of it)"
	@echo "make bench    what a token, a chunk and a call cost, beside others (ARGS=--help lists the parts)"
	@echo "make install  make .venv with all that these need"

install: $(VENV)/installed-dev

run: $(VENV)/installed
	@echo "Starting with $(CONFIG)"
	@exec $(PY) server.py --config $(CONFIG) $(if $(PORT),--port $(PORT))

test: $(VENV)/installed-dev browser
	@echo "Running the tests"
	@$(PY) -m pytest $(ARGS)

check: $(VENV)/installed-dev
	@echo "Style" && $(PY) -m ruff check .
	@echo "Types" && $(PY) -m mypy
	@echo "Import directions" && $(PY) -m pytest -q tests/test_imports.py

latency: $(VENV)/installed-dev
	@echo "Calling a server with $(CONFIG)"
	@$(PY) -m tools.latency $(MANIFEST) --config $(CONFIG) $(ARGS)

soak: $(VENV)/installed-dev
	@echo "Calling a server with $(CONFIG), many times"
	@$(PY) -m tools.soak --config $(CONFIG) --html artifacts/soak.html $(ARGS)

bench: $(VENV)/installed-dev
	@$(PY) -m tools.bench --config $(CONFIG) $(ARGS)

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV) \
		|| { rm -rf $(VENV); echo "Python's venv is missing (on Debian: apt-get install python3-venv)"; exit 1; }
	@touch $@

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/made
	@echo "Installing what the server needs (the first time this takes some minutes)"
	@$(INSTALL) --quiet setuptools
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing what the tests need"
	@$(INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $@

# Never fails: without a browser the tests that drive one skip themselves and say so.
browser:
	@if command -v chromium >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Chromium for the browser tests"; \
		export DEBIAN_FRONTEND=noninteractive; \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
			|| echo "Chromium could not be installed: the browser tests will be skipped"; \
	else \
		echo "No Chromium here, and no right to install it: the browser tests will be skipped"; \
	fi
