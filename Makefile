PYTHON ?= python3
BIN := .venv/bin
VENV := .venv/.installed

.PHONY: venv demo up test coverage test-all-pythons check audit format bench bench-peers lock clean

venv: $(VENV)

$(VENV): requirements-dev.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	@touch $(VENV)

demo: venv
	$(BIN)/python -m local demo --out demo-output

up: venv
	$(BIN)/python -m local up --env-file local.env

# Two workers: much of the suite waits for servers and deadlines. A file's tests share one worker's fixtures.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

test: venv
	$(PYTEST)

# The suite, and what part of the deployed code it runs; fails below the floor in pyproject.toml.
coverage: venv
	$(PYTEST) --cov --cov-report=term

# The tests that are not slow, with each supported Python that this machine has.
test-all-pythons: venv
	.ci/all_pythons

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python .ci/check_files.py
	$(BIN)/python .ci/glossary.py

# AUDIT_STRICT=1 makes it a failure that OSV cannot be reached.
audit: venv
	$(BIN)/python .ci/audit.py

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: venv
	$(BIN)/python -m benchmarks

# The reference's packages stay in an environment of their own: they are large, and AGPL.
PEERS := .venv-peers/.installed

bench-peers: venv $(PEERS)
	$(BIN)/python -m benchmarks.peers --python .venv-peers/bin/python

$(PEERS): benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet -r benchmarks/peers/requirements.txt
	@touch $(PEERS)

# The locks are made here and nowhere else: requirements*.in say what is allowed, the locks say what is installed.
lock: venv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
		--custom-compile-command "make lock" requirements.in -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
		--custom-compile-command "make lock" requirements-dev.in -o requirements-dev.txt

clean:
	rm -rf .venv .venv-peers .venv-pythons demo-output local.env
