# Two commands do all the set-up: `make quickstart` and `make test`. Python 3.11 or newer and make are enough.
PYTHON ?= python3
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE # a console is a dozen processes: compiled once, not by each of them

.DEFAULT_GOAL := help
.PHONY: help quickstart up test check assets test-clients openapi versions oracle chaos house screens docs bench lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

quickstart: .venv/.installed ## the eight steps on sample data; ONCE=1 ends after the table, EVENTS=file.jsonl[.gz] takes your own
	@$(BIN)/python -m quickstart $(if $(ONCE),--once) $(if $(EVENTS),--events "$(EVENTS)")

up: .venv/.installed ## an empty console on embedded stores (data in PERSONAS_HOME, default var/)
	@$(BIN)/python -m personas_site.up

test: .venv/.tests ## every test, browser included
	@$(BIN)/python -m pytest $(TESTS)

check: .venv/.tests ## lint, types, import contracts, dead code, missing migrations, the API's description, names, docs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy .
	@$(BIN)/lint-imports
	@$(BIN)/vulture
	@$(BIN)/python manage.py makemigrations --check --dry-run --skip-checks
	@$(BIN)/python -m tests.openapi
	@$(BIN)/python -m pytest -n 0 tests/test_names.py tests/test_docs.py

openapi: .venv/.installed ## write what the code says of the API into docs/openapi.json
	@$(BIN)/python manage.py spectacular --fail-on-warn --format openapi-json --file docs/openapi.json

assets: assets/node_modules/.installed ## scripts of client libraries that web pages load from the console (needs npm)

test-clients: .venv/.tests assets tests/clients/node_modules/.installed ## every client library, in its own language and in a browser; MariaDB as a warehouse (needs npm and MariaDB)
	@$(BIN)/python -m pytest -n 0 tests/clients/matrix.py tests/clients/mariadb.py

%/node_modules/.installed: %/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 18 or newer (Debian: apt install npm)"; exit 1; }
	@npm ci --silent --prefix $*
	@touch $@

versions: .venv/.tests ## the first command, wherever a machine puts one, and on each Python from 3.11 to 3.13 that is here
	@$(BIN)/python -m pytest -n 0 tests/first_command.py tests/versions.py

oracle: .venv/.tests ## what audiences and computed traits mean, ten times as many random worlds; and planted faults, each to be found
	@PERSONAS_ORACLE_TIMES=10 $(BIN)/python -m pytest -n 2 tests/flows/test_audience_meaning.py tests/flows/test_account_meaning.py tests/flows/test_oracle.py
	@$(BIN)/python -m tests.planted_faults

chaos: .venv/.tests ## whatever goes wrong between workers and tools: each kind of destination ten times, by other dice; SEED=7
	@CHAOS=10 $(BIN)/python -m pytest -n 0 -q tests/flows/test_faulty_tools.py -k whatever_goes_wrong

house: .venv/.tests ## how the code looks to a stranger, in figures
	@$(BIN)/python -m tests.house

screens: .venv/.tests ## a picture of every page, in both colours and both widths, in docs/screens/
	@PERSONAS_SCREENS=docs/screens $(BIN)/python -m pytest tests/web -k browser

docs: .venv-docs/.installed ## build the documentation into site/, strictly: a broken link fails
	@.venv-docs/bin/mkdocs build --quiet --strict

bench: .venv/.installed ## measure, each figure beside a floor from the same run (writes benchmarks/results.json)
	@$(BIN)/python -m benchmarks $(BENCH)

lock: ## compile requirements*.in into the hash-pinned locks (needs uv; names no index)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements.in -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --overrides requirements-overrides.in requirements-dev.in -o requirements-dev.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements-docs.in -o requirements-docs.lock

clean: ## remove the environments, the built documentation and the data of the default folder
	rm -rf .venv .venv-docs site var assets/node_modules tests/clients/node_modules

.venv/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Personas needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 …")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian: apt install python3-venv)"; exit 1; }
	@$(PYTHON) -m venv .venv
	@echo "Installing what Personas runs on (about a minute, once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

.venv/.tests: .venv/.installed requirements-dev.lock
	@echo "Installing what the tests need …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

# Beside the tests' environment: nothing that the site's generator brings can change what the product is tested with.
.venv-docs/.installed: requirements-docs.lock
	@$(PYTHON) -m venv .venv-docs
	@echo "Installing what the documentation is built with …"
	@.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock
	@touch $@
