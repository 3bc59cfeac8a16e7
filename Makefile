PYTHON ?= python3
INSTALL = $(PYTHON) -m config.server.install
BIN = .venv/bin
# As many processes as there are processors; tests/groups.py says what stays in one.
IN_PARALLEL = -n auto --maxprocesses=4
FUZZ_SECONDS = 60
SECONDS = 600
SEED = 1
AUDIT = $(BIN)/pip-audit --progress-spinner off --disable-pip --require-hashes
QUICK = not slow and not tensorflow and not browser and not processes and not product and not docker

.DEFAULT_GOAL := help
# Without compiled files each process compiles all that it imports: TensorFlow takes 8 s more so.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup tools run demo test test-quick test-postgres coverage check audit fuzz chaos format bench screenshots requirements clean

help: ## List what make can do
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

# Tests and benchmarks find uv on the path, as a shell with .venv activated would.
test test-quick test-postgres coverage fuzz bench screenshots: export PATH := $(CURDIR)/.venv/bin:$(PATH)

setup: ## Install what running needs (run and demo do it themselves)
	@$(INSTALL)

tools:
	@$(INSTALL) --dev

run: setup ## Start everything in the foreground; Ctrl-C stops it
	@$(BIN)/python -m config.server.launch

demo: setup ## Train, register, deploy and score an example (ONCE=1: then stop everything)
	@$(BIN)/python -m config.server.demo

test: tools ## Run the tests (ARGS="-k name" to choose, ARGS="-n 0" for one process)
	@$(BIN)/pytest $(IN_PARALLEL) $(ARGS)

test-quick: tools ## Run the tests that are quick and need no TensorFlow, browser, engine or product
	@$(BIN)/pytest $(IN_PARALLEL) -m "$(QUICK)" --hypothesis-profile=quick $(ARGS)

chaos: tools ## Kill, pause, fill and stop what a product needs, and set its clock, at random (SECONDS=600 SEED=1)
	@CHAOS_SECONDS=$(SECONDS) CHAOS_SEED=$(SEED) $(BIN)/pytest -n 0 -s tests/chaos

test-postgres: tools ## Run the tests on the PostgreSQL of DATABASE_URL
	@test -n "$$DATABASE_URL" || { echo "Set DATABASE_URL=postgresql://USER:PASSWORD@HOST:PORT/NAME." >&2; exit 1; }
	@$(BIN)/pytest $(IN_PARALLEL) $(ARGS)

coverage: tools ## Run the quick tests and show which lines they reach (ARGS="-m docker" for others)
	@$(BIN)/pytest $(IN_PARALLEL) -m "$(QUICK)" --cov --cov-report=term:skip-covered $(ARGS)

check: tools ## Check style, types, imports, templates, migrations and settings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/djlint --quiet --lint templates
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check --fail-level WARNING
	@$(MAKE) --no-print-directory audit

audit: tools ## Look up the known vulnerabilities of the pinned packages
	$(AUDIT) $(patsubst %,-r requirements/%.txt,base uv dev frontend)
	$(AUDIT) -r requirements/fuzz.txt

fuzz: tools ## Send the REST API of a running product what its document allows and forbids (FUZZ_SECONDS=60)
	@$(BIN)/uv venv --quiet --allow-existing .venv/fuzz
	@$(BIN)/uv pip sync --quiet --python .venv/fuzz/bin/python --require-hashes requirements/fuzz.txt
	@$(BIN)/python -m tests.fuzz_api .venv/fuzz/bin/schemathesis $(FUZZ_SECONDS)

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
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header requirements/fuzz.in -o requirements/fuzz.txt

clean: ## Remove what setup installed (the data in var/ stays)
	rm -rf .venv node_modules staticfiles .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
