# Every target sets itself up in .venv: Python 3.11 or newer and a C++17 compiler are all that has to be there.
# See README.md for what each one costs and ends at.

PYTHON ?= python3
CXX ?= c++
SEED ?= 0
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# IPython, which runs the notebooks, would take packages from another environment that is active.
export VIRTUAL_ENV := $(CURDIR)/.venv

CORE := CMakeLists.txt $(wildcard src/exact_cntk/kernels/core/*)
PACKAGES := .venv/.packages
PACKAGE := .venv/.exact-cntk
LOCK = uv pip compile --quiet --generate-hashes --python-version 3.11 --custom-compile-command "make lock" $(LOCK_FLAGS)

.PHONY: help study test soak bench install preset lint format lock clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help:  ## Print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

study: install  ## Run the study of params.yaml, print its table and the path of its report
	@python workflow/scripts/run_study.py

test: install  ## Check formatting, lint and types, then run the tests
	@pre-commit run --all-files
	@python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

soak: install  ## Try out damaged parameters, kills and files at random, for hours: make soak SEED=1
	@python -m pytest tests/soak --seed $(SEED)

bench: install  ## Time the kernels here, alone and beside neural-tangents, and print the table
	@python -m benchmarks

install: $(PACKAGE)  ## Set up .venv without running anything
	@:

preset:  ## Make a study of config/ the current one: make preset STUDY=review
	@test -f "config/$(STUDY).yaml" || { echo "make: STUDY is '$(STUDY)'; choose one of:" \
	  $(patsubst config/%.yaml,%,$(wildcard config/*.yaml)) >&2; exit 2; }
	@for study in config/*.yaml; do if cmp -s "$$study" params.yaml; then exit; fi; done; test -e params.yaml || exit 0; \
	  stem="params-$$(date +%Y%m%d-%H%M%S)"; copy="$$stem.yaml"; n=1; \
	  while test -e "$$copy"; do n=$$((n + 1)); copy="$$stem-$$n.yaml"; done; \
	  cp -p params.yaml "$$copy" && echo "params.yaml was no study of config/: it is kept as $$copy"
	@cp "config/$(STUDY).yaml" .params.yaml && mv -f .params.yaml params.yaml
	@echo "params.yaml is now config/$(STUDY).yaml"

lint: install  ## Check formatting, lint and types alone
	@pre-commit run --all-files

format: install  ## Rewrite the sources in the project's format
	@ruff check --fix . && ruff format .
	@snakefmt Snakefile workflow
	@git ls-files '*.cpp' '*.hpp' | xargs clang-format -i
	@git ls-files '*.ipynb' | xargs nbstripout --keep-id

lock: install  ## Resolve both locks again (LOCK_FLAGS=--upgrade for the newest versions)
	@$(LOCK) --universal --extra study --extra workflow --extra dev pyproject.toml requirements.in -o requirements.lock
	@$(LOCK) --no-emit-package tensorflow benchmarks/neural-tangents.in -o benchmarks/neural-tangents.lock

clean:  ## Remove what set-up and builds made; data and results stay
	@rm -rf .venv build benchmarks/.venv-nt .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The set-up, in three steps; each stamp is newer than all that it was made from.

.venv/bin/python:
	@command -v "$(PYTHON)" > /dev/null || { echo "make: no '$(PYTHON)' here; Python 3.11 or newer is" \
	  "needed: install it, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is" \
	  "$$("$(PYTHON)" --version), but 3.11 or newer is needed; name one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' || { echo "make: $(PYTHON) cannot make environments; install its" \
	  "venv module (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@command -v "$(firstword $(CXX))" > /dev/null || { echo "make: no C++ compiler '$(CXX)' here; install one" \
	  "(Debian, Ubuntu: apt-get install g++; macOS: xcode-select --install), or name it: make CXX=clang++" >&2; exit 1; }
	@"$(PYTHON)" -m venv .venv

$(PACKAGES): requirements.lock tools/install_torch.py | .venv/bin/python
	@echo "Installing $$(grep -c '^[a-z0-9]' requirements.lock) pinned packages into .venv (2 minutes, 2 GB)"
	@python -m pip install -qq --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@python tools/install_torch.py
	@touch $@

$(PACKAGE): pyproject.toml $(CORE) $(PACKAGES)
	@echo "Building exact-cntk (under a minute)"
	@CXX="$(CXX)" python -m pip install -qq --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@
