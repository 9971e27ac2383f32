# Everything starts here: `make demo` and `make test` work on a bare machine with Python 3.10+.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
MODULE ?=
MUTANTS_ARGS ?=
# Where this is set, each of the many processes would compile torch and TVM from their sources.
unexport PYTHONDONTWRITEBYTECODE
# Test processes: two cores are enough for two, and each may take 2 GB.
PYTEST_WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 4 ] && echo 4 || echo $$n)

.PHONY: help demo test lint docs format mutants clean

help:
	@echo "make demo    install into $(VENV), then distil, tune, build and compare the demo (7 min)"
	@echo "make test    install into $(VENV), then run the tests (PYTEST_ARGS='-k name' for some)"
	@echo "make lint    install into $(VENV), then ruff and mypy"
	@echo "make docs    install into $(VENV), then build the documentation into build/docs"
	@echo "make format  rewrite the code in the house style"
	@echo "make mutants MODULE=tvmkd/a/b.py   put small bugs into a module; its tests should notice"
	@echo "make clean   remove caches and build output (not $(VENV), not runs/)"

# One stamp for the installation: it is made again only when what is to be installed changes.
$(VENV)/.installed: setup.cfg pyproject.toml
	@echo "==> Creating $(VENV) and installing tvmkd: about 6 GB and 1 to 5 minutes, the first time only"
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there: give make PYTHON=..."; exit 5; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "$(PYTHON) is older than 3.10: give make PYTHON=..."; exit 5; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python scripts/install.py $(VENV)/install.log -e '.[dev]'
	@touch $@
	@echo "==> Installed: $(BIN)/tvmkd"

demo: $(VENV)/.installed
	@echo "==> Running $(BIN)/tvmkd demo (results go to runs/demo)"
	@$(BIN)/tvmkd demo

test: $(VENV)/.installed
	@echo "==> Running the tests (all but those that need a GPU)"
	@$(BIN)/python tests/relay_stack.py
	@$(BIN)/python -m pytest -m 'not gpu' -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(VENV)/.installed
	@echo "==> ruff check, ruff format --check, mypy"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(VENV)/.installed
	@echo "==> Building the documentation: build/docs/index.html"
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --fresh-env --quiet docs build/docs

format: $(VENV)/.installed
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

mutants: $(VENV)/.installed
	@test -f "$(MODULE)" || { echo "give a module: make mutants MODULE=tvmkd/tuning/scheduler.py"; exit 2; }
	@$(BIN)/python scripts/mutants.py $(MODULE) $(MUTANTS_ARGS)

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find tvmkd tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
