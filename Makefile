# Two commands on a fresh machine: make backfill, make test. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help backfill test unit coverage notebooks-test notebooks-long test-browser lint lock notebooks pages docs links lab lite bench soak mutants wheel sbom audit clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

# Files with known hashes on the platform that requirements.lock is for; elsewhere the same versions.
LOCKED := $(shell $(PYTHON) -c "import platform, sys; print(sys.version_info[:2] == (3, 11) and (sys.platform, platform.machine()) == ('linux', 'x86_64') or '')")
PIP := $(BIN)/pip --quiet --disable-pip-version-check
SETUP := $(PIP) --quiet install
# Tests wait for platforms and processes half of their time.
WORKERS := $(shell $(PYTHON) -c "import os; print(2 * (os.cpu_count() or 1))")

$(READY): pyproject.toml constraints.txt requirements.lock
	@echo "Setting up, once:"
	@echo "  1. a Python environment of its own, in .venv"
	@$(PYTHON) -m venv .venv
	@echo "  2. $$(grep -c == constraints.txt) packages at known versions: a few minutes, and the only long step"
	@$(if $(LOCKED),$(SETUP) --require-hashes -r requirements.lock && $(SETUP) --no-deps --no-build-isolation -e .,$(SETUP) -c constraints.txt -e ".[dev]")
	@touch $@
	@echo "  Ready. \"make clean\" removes it all."
	@echo

lock: $(READY) ## rewrite requirements.lock from constraints.txt, with hashes
	mkdir -p build
	$(PIP) install --dry-run --ignore-installed --report build/installation.json -c constraints.txt ".[dev]" setuptools
	$(BIN)/python tests/release/lock.py build/installation.json

backfill: $(READY) ## run the main job on the local platform with a sample export
	@echo "Writing a sample export: 5,000 webhooks of a made-up shop, as a logger would have kept them"
	@$(BIN)/chatlio-kit sample build/captures --events 5000
	@echo
	@echo "Backfill: start the local platform, connect, convert, stream, and read back what landed"
	@$(BIN)/chatlio-kit backfill build/captures
	@echo
	@echo "Three things to try next:"
	@echo "  make lab"
	@echo "      the guided notebooks, in JupyterLab"
	@echo "  $(BIN)/chatlio-kit convert build/captures --out build/tables && $(BIN)/chatlio-kit explore build/tables"
	@echo "      the chats, to search and read on one page: build/tables/explorer.html"
	@echo "  $(BIN)/chatlio-kit convert YOUR-CAPTURES --out tables"
	@echo "      your own files: look before anything is sent"

# Tests start hundreds of processes: without bytecode, each would compile the package again.
test unit notebooks-test mutants: export PYTHONDONTWRITEBYTECODE =

test: lint unit notebooks-test ## lint, types, tests, and strict nbval on all notebooks

unit: $(READY) ## unit and integration tests
	$(BIN)/pytest -n $(WORKERS) --dist loadscope

coverage: $(READY) ## unit and integration tests with line coverage; the report is in build/coverage
	$(BIN)/pytest -n $(WORKERS) --dist loadscope --cov=chatlio_kit --cov-report=term:skip-covered --cov-report=html:build/coverage

notebooks-test: $(READY) ## run the notebooks again and compare every stored output
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --nbval --nbval-current-env --nbval-sanitize-with tests/notebooks/sanitize.cfg notebooks

notebooks-long: $(READY) ## run the notebooks on other captures and platforms, with up to 100,000 events
	$(BIN)/python tests/benchmarks/notebooks_at_length.py

test-browser: $(READY) ## notebooks, explorer and site in headless Chromium; pictures in build/screenshots
	@$(SETUP) -c constraints.txt -e ".[docs]"
	$(BIN)/pytest tests/browser/notebooks_in_browser.py tests/browser/explorer_in_browser.py tests/browser/site_in_browser.py

lint: $(READY) ## ruff, strict types, order of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

notebooks: $(READY) ## re-execute the notebooks and store their outputs
	$(BIN)/python tests/notebooks/refresh.py

pages: $(READY) ## rewrite the generated parts of the pages in docs/
	PYTHONPATH=tests/evidence $(BIN)/python docs/generated.py

docs: $(READY) ## build the documentation site in build/docs; warnings are errors
	@$(SETUP) -c constraints.txt -e ".[docs]"
	@rm -rf build/docs
	$(BIN)/sphinx-build --quiet --nitpicky --fail-on-warning --keep-going -c docs . build/docs
	@echo "Open build/docs/index.html in a browser."

links: $(READY) ## check the documentation's external links; needs the network
	@$(SETUP) -c constraints.txt -e ".[docs]"
	$(BIN)/sphinx-build --quiet -b linkcheck -c docs . build/links

lab: $(READY) ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

lite: $(READY) ## build notebooks 00 and 02 for a browser without Python, in build/lite
	rm -rf build/lite build/lite-source
	$(PYTHON) -m venv build/lite-env
	build/lite-env/bin/pip install --quiet --disable-pip-version-check -c constraints.txt \
	  $$($(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['lite'])")
	build/lite-env/bin/python docs/lite.py

bench: $(READY) ## compare speed and memory with an analyst's other tools
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]" \
	  || echo "Not all peers can be installed here; those that are missing are not run."
	$(BIN)/python tests/benchmarks/convert_ratios.py
	$(BIN)/python tests/benchmarks/split_speed.py
	$(BIN)/python tests/benchmarks/repeat_speed.py
	$(BIN)/python tests/benchmarks/stream_pace.py
	$(BIN)/python tests/benchmarks/trace_speed.py
	$(BIN)/python tests/benchmarks/backfill_memory.py
	$(BIN)/python tests/benchmarks/backfill_memory.py --via batch
	$(BIN)/python tests/benchmarks/fault_matrix.py

soak: $(READY) ## 100,000s of damaged captures; long backfills with faults and kills; 10,000 random histories
	$(BIN)/python tests/benchmarks/fuzz_convert.py
	$(BIN)/python tests/benchmarks/soak_faults.py
	$(BIN)/python tests/benchmarks/soak_kills.py
	$(BIN)/python tests/benchmarks/soak_bulk.py
	$(BIN)/python tests/benchmarks/soak_histories.py
	$(BIN)/python tests/benchmarks/soak_histories.py --bugs --histories 2000

mutants: $(READY) ## record which tests run which lines, mutate the code, and check that tests fail; takes hours
	mkdir -p build/mutants
	COVERAGE_FILE=build/mutants/coverage $(BIN)/pytest -n $(WORKERS) --dist loadscope --cov=chatlio_kit \
	  --cov-context=test --cov-report= --junitxml=build/mutants/tests.xml
	$(BIN)/python tests/benchmarks/mutants.py

TOOLS := build/tools/bin
$(TOOLS)/ready: Makefile
	$(PYTHON) -m venv build/tools
	$(TOOLS)/pip --quiet --disable-pip-version-check install cyclonedx-bom==7.5.0 pip-audit==2.10.1
	@touch $@

EPOCH = $$(git log -1 --format=%ct)

wheel: $(READY) ## build a reproducible wheel of the last commit in dist
	rm -rf build/source dist && mkdir -p build/source
	git -c tar.umask=0022 archive HEAD | tar -xp -C build/source
	umask 022 && SOURCE_DATE_EPOCH=$(EPOCH) $(PIP) wheel --no-deps --no-build-isolation -w dist build/source
	sha256sum dist/*.whl

sbom: $(READY) $(TOOLS)/ready ## list dependencies and licences in build/sbom.json (CycloneDX) and build/licences.txt
	rm -rf build/installed && $(PYTHON) -m venv --without-pip build/installed
	$(PIP) --python build/installed install -c constraints.txt ".[notebooks,s3,gs,abfs,cluster,verify]"
	SOURCE_DATE_EPOCH=$(EPOCH) $(TOOLS)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o build/sbom.json build/installed
	build/installed/bin/python tests/release/licences.py > build/licences.txt

audit: $(TOOLS)/ready ## look up known vulnerabilities of pinned packages; error 3 if no index answers
	$(PYTHON) tests/release/audit.py $(TOOLS)/pip-audit

clean: ## remove the environment, the state and everything built
	rm -rf .venv .chatlio-kit build
