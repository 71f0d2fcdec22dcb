# make demo and make test do everything on a fresh machine; the other targets are their parts.

PYTHON ?= python3
BIN := .venv/bin
CUDA ?= 0
KILLS ?= 200
DEMO := demo
READY := .venv/ready-cuda-$(CUDA)
QUICK := -m "not model"

# Packages that `make wheels` has put there are all that is used: nothing is asked of a network then.
ifneq ($(wildcard wheels/*.whl),)
ifeq ($(filter wheels,$(MAKECMDGOALS)),)
export PIP_NO_INDEX := 1
export PIP_FIND_LINKS := $(CURDIR)/wheels
endif
endif

.PHONY: help setup models wheels demo test check lint torture clean

help:
	@echo "make demo      set up, then run the bundled task: about 12 minutes the first time, 1 afterwards"
	@echo "make test      set up, then run all checks and tests"
	@echo "make setup     the virtual environment in .venv (CUDA=1: with llama.cpp for an NVIDIA GPU)"
	@echo "make models    the default teacher and student in models/"
	@echo "make wheels    all packages in wheels/, to carry to a machine without a network"
	@echo "make lint      format, lint, types and import rules"
	@echo "make check     the same, and the quick tests"
	@echo "make torture   kill runs at random moments and compare what they become (KILLS=200)"
	@echo "make clean     remove .venv, caches and the demo's workspace; models stay"

demo: models
	@test -f $(DEMO)/llm2llm.toml || $(BIN)/llm2llm init $(DEMO) --task demo --models models
	@if $(BIN)/llm2llm -C $(DEMO) query --csv "SELECT run_id FROM runs WHERE status != 'done'" 2>/dev/null | grep -q '^[0-9]'; \
		then $(BIN)/llm2llm -C $(DEMO) resume; else $(BIN)/llm2llm -C $(DEMO) run; fi
	@echo "Look around: $(BIN)/llm2llm -C $(DEMO) tui | report | failures | query \"SELECT * FROM lineage\""

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

wheels: models
	$(BIN)/python -m pip wheel -q --wheel-dir wheels -c .constraints.txt ".[dev]" "setuptools>=77"
	@rm -f wheels/llm2llm_local-*.whl
	@echo "Carry this folder over, without .venv: make demo needs no network there."

setup: $(READY)

$(READY): pyproject.toml .constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Needs Python 3.11 or newer: install it, then make PYTHON=/path/to/python3.11 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Needs Python's venv module: install your system's python3-venv package"; exit 1; }
	@test -n "$$PIP_NO_INDEX" || { command -v c++ || command -v g++ || command -v clang++; } >/dev/null \
		|| { echo "Needs a C++ compiler: install g++ or clang"; exit 1; }
	@test $(CUDA) = 0 || command -v nvcc >/dev/null \
		|| { echo "CUDA=1 needs nvcc: install the CUDA toolkit and put its bin folder on PATH"; exit 1; }
	@echo "Setting up .venv: packages (a few minutes), then compiling llama.cpp (about 10 minutes on 2 cores) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c .constraints.txt -e ".[dev]"
ifeq ($(CUDA),1)
	@echo "Compiling llama.cpp again, for the GPU (10 to 30 minutes) …"
	@! $(BIN)/python -c 'import torch, sys; sys.exit(torch.version.cuda is not None)' || \
		$(BIN)/python -m pip install -q --force-reinstall --no-deps -c .constraints.txt torch
	CMAKE_ARGS="-DGGML_CUDA=on" $(BIN)/python -m pip install -q --force-reinstall --no-deps --no-cache-dir \
		--no-binary llama-cpp-python -c .constraints.txt llama-cpp-python
endif
	@touch $@

clean:
	rm -rf .venv $(DEMO) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info build
	find . -name __pycache__ -prune -exec rm -rf {} +
