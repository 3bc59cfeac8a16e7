PYTHON ?= python3
INSTALL = $(PYTHON) -m config.install
BIN = .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup tools run demo test test-postgres check format bench screenshots requirements clean

help: ## List what make can do
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

# Tests and benchmarks find uv on the path, as a shell with .venv activated would.
test test-postgres bench screenshots: export PATH := $(CURDIR)/.venv/bin:$(PATH)

setup: ## Install what running needs (run and demo do it themselves)
	@$(INSTALL)

tools:
	@$(INSTALL) --dev

run: setup ## Start everything in the foreground; Ctrl-C stops it
	@$(BIN)/python -m config.launch

demo: setup ## Train, register, deploy and score an example (ONCE=1: then stop everything)
	@$(BIN)/python -m config.demo

test: tools ## Run the tests (ARGS="-k name" to choose)
	@$(BIN)/pytest $(ARGS)

test-postgres: tools ## Run the tests on the PostgreSQL of DATABASE_URL
	@test -n "$$DATABASE_URL" || { echo "Set DATABASE_URL=postgresql://USER:PASSWORD@HOST:PORT/NAME." >&2; exit 1; }
	@$(BIN)/pytest $(ARGS)

check: tools ## Check style, types, templates, migrations and settings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/djlint --quiet --lint templates
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check --fail-level WARNING

format: tools ## Bring the Python files into their form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## Measure the speed against peers (FULL=1: with those from PyPI)
	@$(BIN)/python -m bench

screenshots: tools ## Make the pictures in docs/images
	@$(BIN)/python -m tests.e2e.screenshots

requirements: tools ## Pin requirements/*.txt anew from requirements/*.in
	for name in base uv dev frontend; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-header --override requirements/overrides.txt requirements/$$name.in -o requirements/$$name.txt \
	    || exit 1; \
	done

clean: ## Remove what setup installed (the data in var/ stays)
	rm -rf .venv node_modules staticfiles .pytest_cache .mypy_cache .ruff_cache
