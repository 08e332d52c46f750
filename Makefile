# `make` lists the targets. Each sets up .venv by itself when needed, with the exact versions of constraints.txt.
PYTHON ?= python3
ARGS ?=
VENV := .venv
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo resume test check train bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## set up .venv: crrn (editable), the demo photos, the tools to develop

demo: $(INSTALLED) ## train CRRN at small width on photos that installed packages ship, a few minutes on 2 CPU cores
	$(VENV)/bin/python -m src.train experiment=demo resume=auto

resume: $(INSTALLED) ## start a run, kill it, resume it, and compare its weights with those of a run that was not killed
	$(VENV)/bin/python -m src.resume_check

# Two files at a time, one thread each: threads of two processes on two cores would wait for one another.
test: $(INSTALLED) ## run the tests; ARGS="-k plan" is passed on
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

check: $(INSTALLED) ## lint, formatting and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

train: $(INSTALLED) ## train; ARGS="experiment=crrn_full data=folders data.background=... data.reflection=..." is passed on
	$(VENV)/bin/python -m src.train $(ARGS)

bench: $(INSTALLED) ## compare the speed with other libraries, minutes; ARGS="suite=[loss]" is passed on
	$(VENV)/bin/python -m src.bench $(ARGS)

docs: $(INSTALLED) ## build the documentation: build/docs/index.html
	$(VENV)/bin/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

clean: ## remove .venv, builds and caches; runs stay
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null || { echo "crrn needs Python 3.11 or 3.12, and $(PYTHON) is not one ($$($(PYTHON) --version 2>&1)): name one, e.g. make PYTHON=python3.12 $(or $(MAKECMDGOALS),install)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	@touch $@
