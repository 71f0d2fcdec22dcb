# make demo and make test do everything on a fresh machine; the other targets are their parts.

PYTHON ?= python3
BIN := .venv/bin
CUDA := 0
KILLS := 200
DEMO := demo
READY := .venv/ready-cuda-$(CUDA)
QUICK := -m "not model" -n 2 --dist loadfile
STARTED := $(shell date +%s)
$(if $(filter 0 1,$(CUDA)),,$(error CUDA=$(CUDA): give 1 for an NVIDIA GPU, or 0))
BENCH_JSON := build/bench-gpu.json

# Of the machine that `make bench-gpu` is carried to; this one's, unless told otherwise.
GPU_PYTHON ?= $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# make bench-gpu takes a .venv that CUDA=1 has set up, or else makes this one of what the machine has.
GPU := .venv/gpu
GPU_READY := $(firstword $(wildcard .venv/ready-cuda-1) $(GPU)/ready)
GPU_BIN := $(if $(wildcard .venv/ready-cuda-1),$(BIN),$(GPU)/bin)

# llama.cpp for this machine's GPU alone, without what the program doesn't use. The toolkit's libraries are found where
# they lie, which nvcc knows. Where it has no cuBLAS, that of PyTorch is taken (see bench/gpu/setting_up.py); where it has
# no stub of the driver's library, nothing is linked to that.
NVCC := $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
TOOLKIT = $(realpath $(shell $(NVCC) --dryrun -x cu /dev/null 2>&1 | sed -n 's/^.. TOP=//p'))
LIBRARIES = $(wildcard $(TOOLKIT)/lib64 $(TOOLKIT)/targets/*/lib /usr/lib/x86_64-linux-gnu)
CUBLAS = $(if $(wildcard $(LIBRARIES:=/libcublas.so)),,$(CURDIR)/$(GPU)/cuda)
STUBS = $(wildcard $(LIBRARIES:=/stubs/libcuda.so) $(LIBRARIES:=/libcuda.so))
LLAMA_CUDA = CMAKE_ARGS="-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=native -DGGML_CUDA_NCCL=off -DLLAVA_BUILD=off \
-DLLAMA_OPENSSL=off $(if $(STUBS),,-DGGML_CUDA_NO_VMM=on) \
$(if $(CUBLAS),-DCMAKE_LIBRARY_PATH=$(CUBLAS)/lib -DCMAKE_CUDA_FLAGS=-I$(CUBLAS)/include) \
-DCMAKE_SHARED_LINKER_FLAGS=-Wl,-rpath,$(TOOLKIT)/lib64$(if $(CUBLAS),:$(CUBLAS)/lib)" \
CUDACXX=$(NVCC) CMAKE_BUILD_PARALLEL_LEVEL=$$(nproc)

# What every compiling of llama.cpp is told, see the header.
COMPILING = CPATH="$(CURDIR)/llm2llm_local/teacher$(if $(CPATH),:$(CPATH))" CXXFLAGS="$(CXXFLAGS) -include amx_tile.h"
TRIAL = $(BIN)/python -m llm2llm_local.teacher.trial models/SmolLM2-135M-Instruct.Q4_1.gguf

# One that was compiled for the GPU is compiled for it again. A processor that lacks instructions ends it with 132, SIGILL.
LLAMA = $(COMPILING) $(if $(filter 1,$(CUDA))$(wildcard .venv/ready-cuda-1),$(LLAMA_CUDA)) $(BIN)/python -m pip install -q \
	--force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python -c .constraints.txt llama-cpp-python

# Packages that `make wheels` has put there are all that is used: nothing is asked of a network then.
OFFLINE := $(if $(filter wheels wheels-gpu,$(MAKECMDGOALS)),,$(wildcard wheels/complete))
GPU_OFFLINE := $(wildcard wheels-gpu/complete)
ifneq ($(OFFLINE),)
export PIP_NO_INDEX := 1
export PIP_FIND_LINKS := wheels
endif

define NEEDS_COMPILER
	@{ command -v c++ || command -v g++ || command -v clang++; } >/dev/null \
		|| { echo "Needs a C++ compiler: install g++ or clang"; exit 1; }
endef

.PHONY: help setup models llama wheels wheels-gpu demo bench-gpu test check lint torture clean

help:
	@echo "make demo      set up, then run the bundled task: about 20 minutes the first time, 10 afterwards"
	@echo "make test      set up, then run all checks and tests"
	@echo "make setup     the virtual environment in .venv (CUDA=1: with llama.cpp for an NVIDIA GPU)"
	@echo "make models    the default teacher and student in models/"
	@echo "make llama     compile llama.cpp again, for this processor"
	@echo "make wheels    all packages in wheels/, to carry to a machine without a network"
	@echo "make wheels-gpu  what make bench-gpu lacks in wheels-gpu/, to carry there (GPU_PYTHON=3.12: for its Python)"
	@echo "make bench-gpu   set up on a machine with CUDA, PyTorch, transformers and PEFT, then measure its GPU: 9 minutes"
	@echo "make lint      format, lint, types and import rules"
	@echo "make check     the same, and the quick tests"
	@echo "make torture   kill runs at random moments and compare what they become (KILLS=200)"
	@echo "make clean     remove .venv, caches, build/ and the demo's workspace; models stay"

demo: models
	@test -f $(DEMO)/llm2llm.toml || $(BIN)/llm2llm init $(DEMO) --task demo --models models
	@if $(BIN)/llm2llm -C $(DEMO) query --csv "SELECT run_id FROM runs WHERE status != 'done'" 2>/dev/null | grep -q '^[0-9]'; \
		then $(BIN)/llm2llm -C $(DEMO) resume; else $(BIN)/llm2llm -C $(DEMO) run; fi
	@echo "Look around: $(BIN)/llm2llm -C $(DEMO) tui | report | failures | query \"SELECT * FROM lineage\""

# What runs no model takes one core: two at once. Models take both.
test: lint models
	$(BIN)/pytest -q $(QUICK)
	$(BIN)/pytest -m model

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
	@$(TRIAL); case $$? in 0) ;; 132) echo "llama.cpp was compiled for another processor: compiling it for this one" \
		"(about 10 minutes on 2 cores) …"; $(LLAMA) && $(TRIAL) || { echo "llama.cpp doesn't run here"; exit 1; } ;; \
		*) exit 1 ;; esac

llama: setup
	$(NEEDS_COMPILER)
	@echo "Compiling llama.cpp for this processor (about 10 minutes on 2 cores) …"
	$(LLAMA)

wheels: models
	@rm -f wheels/complete
	$(COMPILING) $(BIN)/python -m pip wheel -q --wheel-dir wheels -c .constraints.txt ".[dev,eda]" "setuptools>=77"
	@rm -f wheels/llm2llm_local-*.whl
	$(call SOURCES,wheels)
	@touch wheels/complete
	@echo "Carry this folder over, without .venv: make demo needs no network there."

# What llama.cpp is compiled from, and with.
define SOURCES
	$(BIN)/python -m pip download -q --no-deps --no-binary llama-cpp-python --dest $(1) -c .constraints.txt \
		llama-cpp-python
	$(BIN)/python -m pip download -q --no-deps --only-binary=:all: --dest $(1) -c .constraints.txt \
		scikit-build-core pathspec packaging cmake ninja
endef

wheels-gpu: models
	@mkdir -p wheels-gpu && rm -f wheels-gpu/complete
	$(BIN)/python -m llm2llm_local.bench.gpu.carried $(GPU_PYTHON) > wheels-gpu/names.txt
	$(BIN)/python -m pip download -q --no-deps --only-binary=:all: --python-version $(GPU_PYTHON) --dest wheels-gpu \
		-r wheels-gpu/names.txt
	$(call SOURCES,wheels-gpu)
	@touch wheels-gpu/complete
	@echo "Carry this folder over, without .venv: make bench-gpu needs no network there."

bench-gpu:
	@nvidia-smi -L 2>/dev/null | grep -q GPU || { echo "Needs an NVIDIA GPU, and nvidia-smi finds none here." \
		"Without one there are llm2llm bench teacher and llm2llm bench student"; exit 1; }
	@$(MAKE) --no-print-directory $(GPU_READY)
	@$(GPU_BIN)/python -m llm2llm_local.default_model --folder models
	@mkdir -p $(dir $(BENCH_JSON)) && rm -f $(BENCH_JSON)
	@LLM2LLM_BENCH_STARTED=$(STARTED) LLM2LLM_BENCH_JSON=$(BENCH_JSON) \
		$(GPU_BIN)/python -m llm2llm_local bench gpu > /dev/null; failed=$$?; test ! -f $(BENCH_JSON) || { \
		echo "What was measured is in $(BENCH_JSON)"; \
		$(GPU_BIN)/python -m llm2llm_local.bench.gpu.targets $(BENCH_JSON) || failed=$$?; }; exit $$failed

# The machine's own packages stay as they are, and are used; what is missing is put beside them. While llama.cpp is
# compiled, they are tried, and the default models made. Made once, however young the files of this project are: they may
# have been copied anew for another call. make clean removes it.
$(GPU)/ready: export PIP_NO_INDEX := $(if $(GPU_OFFLINE)$(OFFLINE),1)
$(GPU)/ready: export PIP_FIND_LINKS := $(if $(GPU_OFFLINE),wheels-gpu,$(if $(OFFLINE),wheels))
$(GPU)/ready:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 bench-gpu"; exit 1; }
	@test -n "$(NVCC)" || { echo "Needs nvcc: install the CUDA toolkit and put its bin folder on PATH"; exit 1; }
	@$(PYTHON) llm2llm_local/bench/gpu/setting_up.py $(GPU)
	$(GPU)/bin/python -m pip install -q -c $(GPU)/constraints.txt -r $(GPU)/needs.txt
	@echo "Compiling llama.cpp for the GPU (a few minutes) …"
	@$(COMPILING) $(LLAMA_CUDA) setsid $(GPU)/bin/python -m pip wheel -q --no-deps --no-cache-dir \
			$$(cat $(GPU)/isolation.txt) --no-binary llama-cpp-python -c $(GPU)/constraints.txt \
			--wheel-dir $(GPU)/wheels llama-cpp-python & \
		compiling=$$!; trap 'kill -- -$$compiling 2>/dev/null' EXIT INT TERM; \
		$(GPU)/bin/python -c 'import bitsandbytes, peft, torch, transformers; \
			bitsandbytes.functional.quantize_4bit(torch.ones(64, 64, device="cuda"))' \
		&& $(GPU)/bin/python -m llm2llm_local.default_model --folder models \
		&& wait $$compiling
	$(GPU)/bin/python -m pip install -q -c $(GPU)/constraints.txt $(GPU)/wheels/llama_cpp_python-*.whl
	@$(GPU)/bin/python -c 'import llama_cpp, sys; sys.exit(not llama_cpp.llama_supports_gpu_offload())' \
		|| { echo "llama.cpp was compiled, but without CUDA: see the lines above"; exit 1; }
	@touch $@

setup: $(READY)

$(READY): pyproject.toml .constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Needs Python 3.11 or newer: install it, then make PYTHON=/path/to/python3.11 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Needs Python's venv module: install your system's python3-venv package"; exit 1; }
	$(if $(OFFLINE),,$(NEEDS_COMPILER))
	@test $(CUDA) = 0 || test -n "$(NVCC)" \
		|| { echo "CUDA=1 needs nvcc: install the CUDA toolkit and put its bin folder on PATH"; exit 1; }
	@echo "Setting up .venv: packages (a few minutes), then compiling llama.cpp (about 10 minutes on 2 cores) …"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	$(COMPILING) $(BIN)/python -m pip install -q -c .constraints.txt -e ".[dev,eda]"
ifeq ($(CUDA),1)
	@echo "Compiling llama.cpp again, for the GPU (10 to 30 minutes) …"
	@! $(BIN)/python -c 'import torch, sys; sys.exit(torch.version.cuda is not None)' || \
		$(BIN)/python -m pip install -q --force-reinstall --no-deps -c .constraints.txt torch
	$(LLAMA)
endif
	@touch $@

clean:
	rm -rf .venv $(DEMO) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info build
	find . -name __pycache__ -prune -exec rm -rf {} +
