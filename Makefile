# Everything a newcomer needs; `make help` lists it. Needs Python 3.11 or newer and nothing else.

PYTHON ?= python3
# torch's CPU build lives on other indexes than its default one; say for example
# make test TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH  ?= torch==2.13.0
CONFIG ?=
# ONNX Runtime reports to its maker unless it is told not to.
export ORT_DISABLE_TELEMETRY := 1
# Products of matrices stay on the thread that asks for them; see sidecar/__main__.py.
export OPENBLAS_NUM_THREADS := 1
PY     := .venv/bin/python
PIP    := $(PY) -m pip --disable-pip-version-check --quiet

.PHONY: run test check fmt bench lock audit sbom encoder help clean

run: .venv/serve.stamp ## Set up everything and serve on 127.0.0.1:8080 (CONFIG=file for your own)
	@$(PY) -m sidecar encoder fetch || { [ $$? -eq 3 ] && $(MAKE) --no-print-directory encoder; }
	@exec $(PY) -m sidecar serve $(if $(CONFIG),--config $(CONFIG))

test: .venv/dev.stamp ## Set up everything and pass all checks: format, lint, types, import contracts, tests
	@$(PY) -m sidecar encoder fetch || { [ $$? -eq 3 ] && $(MAKE) --no-print-directory encoder; }
	@$(MAKE) --no-print-directory check
	$(PY) -m pytest

check: .venv/dev.stamp
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: .venv/dev.stamp ## Measure each path beside bare servers (BENCH=--peers: and other gateways), the encoder, each hop
	$(PY) -m loadtest bench --against loadtest/results/bench.json $(BENCH)
	$(PY) -m sidecar encoder bench
	$(PY) -m loadtest hops

fmt: .venv/dev.stamp ## Format and fix what can be fixed
	.venv/bin/ruff check --fix-only --quiet .
	.venv/bin/ruff format .

encoder: .venv/dev.stamp ## Export the encoder from its original weights (needs torch, which this installs)
	$(PY) -m train encoder

lock: .venv/pip.stamp ## Write requirements/*.txt anew from pyproject.toml
	$(PIP) install uv
	.venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  pyproject.toml --extra cpu -o requirements/serve.txt
	.venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  pyproject.toml --extra cpu --extra train --extra tracking --extra dev -c requirements/serve.txt -o requirements/dev.txt

audit: .venv/dev.stamp ## Hold the locks to their promise, and ask what authors and advisories say of them
	$(PY) requirements/supply.py check
	@$(PYTHON) -m venv .venv/audit && .venv/audit/bin/python -m pip --disable-pip-version-check --quiet install --upgrade 'pip>=25' pip-audit==2.10.1
	@.venv/audit/bin/pip --quiet install --dry-run --ignore-installed --no-deps --require-hashes --report .venv/audit/report.json -r requirements/serve.txt
	$(PY) requirements/supply.py yanked .venv/audit/report.json
	.venv/audit/bin/pip-audit -r requirements/serve.txt --require-hashes --disable-pip --progress-spinner off --strict

sbom: .venv/dev.stamp ## Write what the served process is made of: sbom.cdx.json (CycloneDX, from the lock)
	@$(PY) requirements/supply.py sbom > sbom.cdx.json
	@echo "sbom.cdx.json written"

help: ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

clean: ## Remove the environment and caches (the encoder bundle, cache and log in .sidecar/ stay)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/pip.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/serve.stamp: .venv/pip.stamp requirements/serve.txt
	$(PIP) install --require-hashes --no-deps -r requirements/serve.txt
	@touch $@

.venv/dev.stamp: .venv/serve.stamp requirements/dev.txt
	$(PIP) install --require-hashes --no-deps -r requirements/dev.txt
	$(PIP) install $(TORCH)
	@touch $@
