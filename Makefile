# make demo: the main job on real models.  make test: lint, types and tests.  Each makes its own environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo demo-domains demo-tagging demo-writing demo-answers test lint format clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/searchmerge demo

demo-domains demo-tagging demo-answers: demo-%: $(READY)
	$(BIN)/searchmerge demo --case $*

demo-writing: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[writing]'
	$(BIN)/searchmerge demo --case writing

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info
