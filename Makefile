# make demo: the main job on real models.  make test: lint, types and tests.  make bench: what the README's figures
# come from.  Each makes its own environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

CASE := searchmerge-demo/tasks.yaml

.PHONY: demo demo-domains demo-tagging demo-writing demo-answers bench test lint format clean

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

$(CASE): | $(READY)
	$(BIN)/searchmerge demo

# One after another: run it on a quiet machine.
bench: $(READY) $(CASE)
	$(BIN)/python -m benchmarks.candidate --mergekit
	$(BIN)/python -m benchmarks.overhead $(CASE)
	$(BIN)/python -m benchmarks.mergekit_parity
	$(BIN)/python -m benchmarks.peers $(CASE)
	@echo "Left out, since they take long:"
	@echo "  make demo demo-domains: the scores of both cases"
	@echo "  searchmerge compare configs/compare.yaml --out runs/compare: which strategy"
	@echo "  python -m benchmarks.baselines searchmerge-demo --out runs/baselines: RegMean and others"
	@echo "  python -m benchmarks.rejection $(CASE): what stopping hopeless candidates saves"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A file of tests is one process's, and tiny models gain nothing from threads.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info
