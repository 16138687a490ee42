# Everything runs in .venv, made by plain pip. TORCH_INDEX=URL takes torch from an index of CPU builds; JOBS=N runs the
# tests in so many processes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH_INDEX ?=
JOBS ?= 2
READY := $(VENV)/.ready
SDKS := 0.38.0 0.24.1
SDKS_READY := $(SDKS:%=.venv-sdk/%/.ready)

.DEFAULT_GOAL := help
.PHONY: help install demo test check serve bench bench-asyncio bench-bodies bench-engine bench-genserver bench-scale bench-trainer chaos conformance crash faults faults-docs lanes long-run mutants proto soak clean

help: ## Show what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## Make .venv with everything: engine, command, checks

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	$(PIP) install --quiet -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) install --quiet -c constraints.txt -e '.[engine,models,cli]' --group dev
	@touch $@

demo: install ## Train, save, resume bit for bit, and see a failed resume leave nothing
	@mkdir -p out
	$(BIN)/tinkex demo --plot out/loss.png

test: install $(SDKS_READY) ## Run the tests, official SDKs among them, with the coverage gate; then those of both lanes
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(JOBS) --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(MAKE) lanes

lanes: install ## Run the tests of behaviour through the other lane: httpx for sockets, sockets for httpx
	$(BIN)/python -m pytest -q --other-lane -n $(JOBS) --dist worksteal tests/actors tests/faults tests/trainer

conformance: install $(SDKS_READY) ## Run programs of the official SDKs against the engine; write docs/compatibility.md
	TINKEX_WRITE_DOCS=1 $(BIN)/python -m pytest tests/conformance

crash: install ## Kill the engine N times in mid-load (make crash N=200 SEED=7) and look what is lost
	TINKEX_KILLS=$(or $(N),200) TINKEX_SEED=$(or $(SEED),$(shell date +%s)) $(BIN)/python -m pytest -s tests/engine/test_crash.py

chaos: install ## Kill trainers and engines N times (make chaos N=200 SEED=7), or freeze them at each write (ZOMBIES=all)
	PYTHONPATH=tests $(BIN)/python -m chaos.run $(or $(N),200) $(if $(SEED),--seed $(SEED)) $(if $(ZOMBIES),--zombies $(ZOMBIES))

faults: install ## Run N programs under seeded faults (make faults N=10000 SEED=7) and check that each law holds
	PYTHONPATH=tests $(BIN)/python -m faults.run $(or $(N),10000) $(if $(SEED),--seed $(SEED)) --singly

mutants: install ## Remove each named protection in a copy of the tree, and see that a named test misses it
	PYTHONPATH=tests $(BIN)/python -m mutants.run

soak: install ## Run 64 clients for MINUTES=5 on an engine that fails; print the slopes of threads, files and memory
	$(BIN)/python bench/soak.py --minutes $(or $(MINUTES),5) --seed $(or $(SEED),1)

faults-docs: install ## Run every fault at every step; write docs/failure_handling.md
	TINKEX_WRITE_DOCS=1 $(BIN)/python -m pytest tests/faults/test_failure_table.py

.venv-sdk/%/.ready: tests/conformance/constraints-%.txt | $(READY)
	$(PYTHON) -m venv .venv-sdk/$*
	.venv-sdk/$*/bin/python -m pip --disable-pip-version-check install --quiet -c $< 'tinker==$*'
	$(BIN)/python tests/conformance/lend_torch.py .venv-sdk/$*/bin/python
	@touch $@

check: install ## Format, lint, types, arrows between rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pyright

serve: install ## Serve the embedded engine on http://127.0.0.1:8080, keeping its runs in ./out/engine
	$(BIN)/tinkex serve --root out/engine

bench: install .venv-sdk/0.38.0/.ready ## Measure the hot path against the official SDK and raw sockets in one run (5 min); write docs/benchmarks.md
	$(BIN)/python bench/fast_path/run.py --write $(if $(REPEATS),--repeats $(REPEATS))

bench-scale: install ## Measure the hot path with up to 1,000 clients, 10,000 results on their way and 50 MB; write docs/benchmarks.md
	$(BIN)/python bench/fast_path/scale.py --write

bench-genserver: install ## Measure the actor type against plain pykka in the same run
	$(BIN)/python bench/genserver.py

bench-asyncio: install ## Measure an event loop's lag under thousands of awaits, against the idle loop and plain pykka
	$(BIN)/python bench/asyncio_lag.py

bench-bodies: install ## Measure the bodies of passes against protobuf's message objects and msgspec in the same run
	$(BIN)/python bench/bodies.py

bench-engine: install ## Measure the engine against peft's own loop in the same run (4 min); write docs/benchmarks.md
	cd bench && ../$(BIN)/python -m engine_bench.run

long-run: install ## Learn to reverse strings, killed twice on the way (5 min); write docs/guides/long_runs.md
	$(BIN)/python bench/long_run.py --write

bench-trainer: install ## Measure a supervised run against a bare loop over the same client (8 min); write docs/benchmarks.md
	cd bench && ../$(BIN)/python -m trainer_bench.run --json ../out/bench_trainer.json $(if $(UPDATES),--updates $(UPDATES))

proto: ## Build the protobuf module from protocol/wire/_proto/tinkex_wire.proto
	$(PYTHON) -m venv build/proto
	build/proto/bin/python -m pip --disable-pip-version-check install --quiet 'grpcio-tools==1.75.1'
	cd protocol/wire/_proto && ../../../build/proto/bin/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. tinkex_wire.proto

clean: ## Remove what make made
	rm -rf $(VENV) .venv-sdk build dist out .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
