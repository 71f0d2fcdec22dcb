# make demo and make test do everything on a fresh machine; the other targets are their parts.

PYTHON ?= python3
BIN := .venv/bin
CUDA ?= 0
KILLS ?= 200
DEMO := demo
READY := .venv/ready-cuda-$(CUDA)
QUICK := -m "not model"

.PHONY: help setup models demo test check lint torture clean

help:
	@echo "make demo      set up, then run the bundled task: about 20 minutes the first time, 10 afterwards"
	@echo "make test      set up, then run all checks and tests"
	@echo "make setup     the virtual environment in .venv (CUDA=1: with llama.cpp for an NVIDIA GPU)"
	@echo "make models    the default teacher and student in models/"
	@echo "make check     format, lint, types, import rules and the quick tests"
	@echo "make torture   kill runs at random moments and compare what they become (KILLS=200)"
	@echo "make clean     remove .venv, caches and the demo's workspace; models stay"

demo: models
	@test -f $(DEMO)/llm2llm.toml || $(BIN)/llm2llm init $(DEMO) --task demo --models models
	$(BIN)/llm2llm -C $(DEMO) run
	@echo "Look around: $(BIN)/llm2llm -C $(DEMO) report | failures | query \"SELECT * FROM lineage\""

test: lint models
	$(BIN)/pytest

check: lint
	$(BIN)/pytest -q $(QUICK)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

torture: models
	KILLS=$(KILLS) $(BIN)/python tests/torture.py

models: setup
	@$(BIN)/python -m llm2llm_local.default_model --folder models

setup: $(READY)

$(READY): pyproject.toml .constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Needs Python 3.11 or newer: install it, then make PYTHON=/path/to/python3.11 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Needs Python's venv module: install your system's python3-venv package"; exit 1; }
	@{ command -v c++ || command -v g++ || command -v clang++; } >/dev/null \
		|| { echo "Needs a C++ compiler: install g++ or clang"; exit 1; }
	@test $(CUDA) = 0 || command -v nvcc >/dev/null \
		|| { echo "CUDA=1 needs nvcc: install the CUDA toolkit and put its bin folder on PATH"; exit 1; }
	@echo "Setting up .venv: packages (a few minutes), then compiling llama.cpp (about 10 minutes on 2 cores) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(if $(filter 1,$(CUDA)),CMAKE_ARGS="-DGGML_CUDA=on" )$(BIN)/python -m pip install -q \
		$(if $(filter 1,$(CUDA)),--no-binary llama-cpp-python )-c .constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf .venv $(DEMO) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info build
	find . -name __pycache__ -prune -exec rm -rf {} +
