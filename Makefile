# Two commands on a fresh machine: make backfill, make test. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help backfill test unit coverage notebooks-test notebooks-long test-browser lint lock notebooks readme lab bench soak clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

# Files with known hashes on the platform that requirements.lock is for; elsewhere the same versions.
LOCKED := $(shell $(PYTHON) -c "import platform, sys; print(sys.version_info[:2] == (3, 11) and (sys.platform, platform.machine()) == ('linux', 'x86_64') or '')")
PIP := $(BIN)/pip --quiet --disable-pip-version-check

$(READY): pyproject.toml constraints.txt requirements.lock
	$(PYTHON) -m venv .venv
	$(if $(LOCKED),$(PIP) install --require-hashes -r requirements.lock && $(PIP) install --no-deps --no-build-isolation -e .,$(PIP) install -c constraints.txt -e ".[dev]")
	@touch $@

lock: $(READY) ## write requirements.lock anew from constraints.txt, with hashes
	mkdir -p build
	$(PIP) install --dry-run --ignore-installed --report build/installation.json -c constraints.txt ".[dev]" setuptools
	$(BIN)/python tests/lock.py build/installation.json

backfill: $(READY) ## run the main job on the embedded platform with a sample export
	$(BIN)/chatlio-kit sample build/captures --events 5000
	$(BIN)/chatlio-kit backfill build/captures

test: lint unit notebooks-test ## lint, types, tests, and strict nbval on all notebooks

unit: $(READY) ## unit and integration tests
	$(BIN)/pytest -n auto --dist loadscope

coverage: $(READY) ## unit and integration tests with line coverage; the report is in build/coverage
	$(BIN)/pytest -n auto --dist loadscope --cov=chatlio_kit --cov-report=term:skip-covered --cov-report=html:build/coverage

notebooks-test: $(READY) ## re-run the notebooks and compare every stored output
	$(BIN)/pytest -n auto --dist loadfile --nbval --nbval-current-env --nbval-sanitize-with tests/notebooks/sanitize.cfg notebooks

notebooks-long: $(READY) ## run the notebooks on other captures and platforms, up to 100,000 events
	$(BIN)/python tests/benchmarks/notebooks_at_length.py

test-browser: $(READY) ## notebooks and explorer in headless Chromium; pictures in build/screenshots
	$(BIN)/pytest tests/browser/notebooks_in_browser.py tests/browser/explorer_in_browser.py

lint: $(READY) ## ruff, strict types, order of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

notebooks: $(READY) ## re-execute the notebooks and store their outputs
	$(BIN)/python tests/notebooks/refresh.py

readme: $(READY) ## write the generated parts of README.md and docs/captures.md anew
	$(BIN)/python tests/test_pages.py

lab: $(READY) ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

bench: $(READY) ## measure side by side with what an analyst would otherwise use
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]" \
	  || echo "Not all peers can be installed here; those that are missing are not run."
	$(BIN)/python tests/benchmarks/convert_ratios.py
	$(BIN)/python tests/benchmarks/split_speed.py
	$(BIN)/python tests/benchmarks/repeat_speed.py
	$(BIN)/python tests/benchmarks/stream_pace.py
	$(BIN)/python tests/benchmarks/trace_speed.py
	$(BIN)/python tests/benchmarks/backfill_memory.py
	$(BIN)/python tests/benchmarks/fault_matrix.py

soak: $(READY) ## damaged captures by the hundred thousand; long backfills faulted and killed over and over
	$(BIN)/python tests/benchmarks/fuzz_convert.py
	$(BIN)/python tests/benchmarks/soak_faults.py
	$(BIN)/python tests/benchmarks/soak_kills.py

clean: ## remove the environment, the state and everything built
	rm -rf .venv .chatlio-kit build
