# `make` lists the targets. Each sets up .venv by itself when needed, with the exact versions of constraints.txt.
PYTHON ?= python3
ARGS ?=
VENV := .venv
CONSTRAINTS := constraints.txt
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo resume test check train bench rehearse docs screenshots lowest clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## set up .venv: crrn (editable), the demo photos, the tools to develop

demo: $(INSTALLED) ## train CRRN at small width on photos that installed packages ship, a few minutes on 2 CPU cores
	$(VENV)/bin/python -m src.train experiment=demo resume=auto

resume: $(INSTALLED) ## start a run, kill it, resume it, and compare its weights with those of a run that was not killed
	$(VENV)/bin/python -m src.resume_check

# Two files at a time, one thread each: threads of two processes on two cores would wait for one another.
test: $(INSTALLED) ## run the tests; ARGS="-m 'not slow'" is passed on: the fast half
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

check: $(INSTALLED) ## lint, formatting and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

train: $(INSTALLED) ## train; ARGS="experiment=crrn_full data=folders data.background=... data.reflection=..." is passed on
	$(VENV)/bin/python -m src.train $(ARGS)

bench: $(INSTALLED) ## compare the speed with other libraries, minutes; ARGS="suite=[loss]" is passed on
	$(VENV)/bin/python -m src.bench $(ARGS)

rehearse: $(INSTALLED) ## run experiments/gpu/run.sh on the CPU with tiny networks, minutes: build/rehearsal
	PYTHON=$(abspath $(VENV)/bin/python) experiments/gpu/run.sh --rehearse build/rehearsal

docs: $(INSTALLED) ## build the documentation: build/docs/index.html
	$(VENV)/bin/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

screenshots: $(INSTALLED) ## take the pictures of the web page in docs/images anew; needs Chromium
	$(VENV)/bin/python -m pytest -q tests/integration/test_webpage.py -k pictures --screenshots=docs/images

# --universal: one file for all Pythons and systems. uv is no part of .venv: pip install uv.
lowest: ## write .ci/lowest.txt anew: the lowest releases that pyproject.toml allows
	uv pip compile --quiet --universal --python-version 3.11 --resolution lowest-direct --extra demo --extra dev \
		--no-header --no-annotate --output-file .ci/lowest.txt pyproject.toml

clean: ## remove .venv, builds and caches; runs stay
	rm -rf $(VENV) .venv-lowest build dist .mypy_cache .pytest_cache .ruff_cache
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null || { echo "crrn needs Python 3.11 to 3.14, and $(PYTHON) is not one ($$($(PYTHON) --version 2>&1)): name one, e.g. make PYTHON=python3.12 $(or $(MAKECMDGOALS),install)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check -c $(CONSTRAINTS) -e '.[demo,dev]'
	@touch $@
