# `make demo` and `make test` need only Python 3.11+, make and a package index: each sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready

# Where this is set, as in many images, each of the many processes of a run would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo up test test-postgres test-s3 lint types contracts check alerts openapi openapi-lint fuzz chaos bench bench-scale load slow lock sbom audit images stand-ins compose-up compose-down compose-test clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Gleaner needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(STAMP)

demo: setup
	$(BIN)/gleaner demo

up: setup
	$(BIN)/gleaner up

test: setup
	$(BIN)/python -m pytest -n 3 --no-loadscope-reorder

# What touches the tables, on PostgreSQL. Needs its server programs.
test-postgres: setup
	GLEANER_TEST_DATABASE=postgresql $(BIN)/python -m pytest -n 3 --no-loadscope-reorder tests/api tests/jobs tests/dispatcher tests/states \
		tests/cli/test_backup.py tests/cli/test_cut_off.py tests/cli/test_check.py

# The API and the jobs on PostgreSQL and S3's protocol, by a server in the tests' own process.
test-s3: setup
	GLEANER_TEST_DATABASE=postgresql GLEANER_TEST_OBJECTS=s3 $(BIN)/python -m pytest -n 3 --no-loadscope-reorder tests/api tests/jobs

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

contracts: setup
	$(BIN)/lint-imports

check: lint types contracts test

# Needs promtool, of the Debian package `prometheus`.
alerts:
	promtool check rules deploy/observability/alerts.yml
	promtool check config deploy/observability/prometheus.yml

openapi: setup
	$(BIN)/gleaner openapi > openapi/openapi.json.new
	mv openapi/openapi.json.new openapi/openapi.json

# Needs Node.js and npm; development only.
openapi-lint:
	cd openapi && npm ci --ignore-scripts --no-audit --no-fund
	cd openapi && npx --no-install spectral lint --fail-severity warn openapi.json
	cd openapi && npx --no-install redocly lint openapi.json

# Attacks the real service by its document, at this seed and at a fresh one.
SEED ?= 1
FUZZ_SECONDS ?= 75
fuzz: setup
	$(BIN)/python -m tests.fuzz.run --seed $(SEED) --seconds $(FUZZ_SECONDS)

# Kills, freezes, cuts and fills the processes at random for about 12 minutes; SEED=n repeats a run's faults.
chaos: setup
	$(BIN)/python -m tests.chaos --seed $(SEED)

bench: setup
	$(BIN)/gleaner bench

# Pools of 1 to 10 million rows with 1, 2 and 4 processes, in about ten minutes; ROWS_UP_TO=30000000 takes 11 GiB of disk.
ROWS_UP_TO ?= 10000000
bench-scale: setup
	$(BIN)/gleaner bench scale --rows-up-to $(ROWS_UP_TO)

# Minutes of work from 64 clients; `make load LOAD_SECONDS=60` is a shorter form. Needs PostgreSQL's server programs.
LOAD_SECONDS ?= 600
load: setup
	$(BIN)/python -m tests.load --seconds $(LOAD_SECONDS)

# What 500 connections that never finish their requests cost a healthy client.
slow: setup
	$(BIN)/python -m tests.load.slow

# The lock files hold hashes and name no index host. Those of the images are parts of the first.
LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet
IMAGE_EXTRAS := --extra arrow --extra embedding --extra otel --extra postgres --extra s3
lock:
	$(LOCK) pyproject.toml --all-extras --output-file requirements.lock
	$(LOCK) pyproject.toml $(IMAGE_EXTRAS) --constraint requirements.lock --output-file deploy/requirements-api.lock
	$(LOCK) pyproject.toml $(IMAGE_EXTRAS) --extra worker --extra onnx --extra dask --constraint requirements.lock --output-file deploy/requirements-worker.lock
	echo hatchling | $(LOCK) - --constraint requirements.lock --output-file deploy/requirements-build.lock

# What a build contains, with hashes, in the form of CycloneDX.
sbom: setup
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-file sbom.json

# Asks the package index for known vulnerabilities; says how many packages it knew nothing of.
audit: SHELL := /bin/bash
audit: setup
	set -o pipefail; $(BIN)/pip-audit --requirement requirements.lock --no-deps --disable-pip --progress-spinner off | \
	  awk '/could not be audited/ {unknown++; next} {print} END {if (unknown) print unknown " packages are unknown to the index"}'

# With podman or docker; BASE_IMAGE and CONTAINER_FLAGS are told in the script.
images:
	deploy/build-images.sh api worker proxy

# PostgreSQL and Redis of Debian, where their official images cannot be had: POSTGRES_IMAGE=gleaner-postgres:latest ...
stand-ins:
	deploy/build-images.sh postgres redis

compose-up: images
	deploy/compose.sh version >/dev/null 2>&1 || [ $$? -ne 127 ] || $(MAKE) setup # brings podman-compose
	deploy/up.sh

# Keeps all data.
compose-down:
	deploy/compose.sh down

# The loop, and a restart of each container under load. Needs the images, and starts and ends a stack of its own.
compose-test: setup
	GLEANER_TEST_CONTAINERS=1 $(BIN)/python -m pytest tests/containers -x --log-cli-level INFO

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
