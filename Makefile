# Two commands on a fresh machine: make backfill, make test. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help backfill test unit notebooks-test lint notebooks readme lab bench soak clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

backfill: $(READY) ## run the main job on the embedded platform with a sample export
	$(BIN)/chatlio-kit sample build/captures --events 5000
	$(BIN)/chatlio-kit backfill build/captures

test: lint unit notebooks-test ## lint, types, tests, and strict nbval on all notebooks

unit: $(READY) ## unit and integration tests
	$(BIN)/pytest -n auto --dist loadscope

notebooks-test: $(READY) ## re-run the notebooks and compare every stored output
	$(BIN)/pytest --nbval --nbval-current-env notebooks

lint: $(READY) ## ruff and strict types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

notebooks: $(READY) ## re-execute the notebooks and store their outputs
	$(BIN)/python tests/notebooks/refresh.py

readme: $(READY) ## write the README's command reference and data dictionary anew
	$(BIN)/python tests/test_readme.py

lab: $(READY) ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

bench: $(READY) ## measure side by side with what an analyst would otherwise use
	$(BIN)/python tests/benchmarks/convert_speed.py
	$(BIN)/python tests/benchmarks/stream_pace.py
	$(BIN)/python tests/benchmarks/fault_matrix.py

soak: $(READY) ## kill a long backfill at random moments, over and over
	$(BIN)/python tests/benchmarks/soak_kills.py

clean: ## remove the environment, the state and everything built
	rm -rf .venv .chatlio-kit build
