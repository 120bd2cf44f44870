# `make repro` sets up the environment and runs the whole pipeline; `make test` tests it. Neither needs root, Docker or a service.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DATA ?=
LOGOS ?= ../shared/logos
ONLY ?=
TORCH := 2.13.0
# One thread each: two workers, and what they start, keep two cores busy.
PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
export DVC_NO_ANALYTICS := 1
# As it was typed: neither make nor the shell looks for commands in it.
export DATA_FOLDER := $(value DATA)
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
export PYTHONUTF8 := 1

.PHONY: help setup repro agent test check faults soak nightly bench bench-agent bench-checkpoints bench-dashboard bench-evaluate \
	bench-exporter bench-pieces bench-scale bench-tracking profile ui up dashboard env clean lock audit

help:
	@echo "make repro            set up, then catalogue, split, train, evaluate, register and report"
	@echo "make repro DATA=DIR   the same on your own folder of logos"
	@echo "make agent            ship the champion with the package, to be used without a project"
	@echo "make test             linters, types, import layers and tests"
	@echo "make check            linters, types and import layers only"
	@echo "make faults           the fault tests in their long form"
	@echo "make soak             a million traces (half an hour on two cores)"
	@echo "make nightly          tests, faults, soak and benchmarks"
	@echo "make bench            the benchmarks, as JSON"
	@echo "make bench-agent      the agent against designers' files, search and hindsight, on LOGOS (two hours on two cores)"
	@echo "make bench-evaluate   evaluations per second against VTracer alone and a plain loop"
	@echo "make bench-checkpoints, bench-tracking, bench-exporter, bench-dashboard   the cost of saving, tracking, monitoring and viewing"
	@echo "make bench-scale      Ray, tuning, sharded vectorising, serving, 100,000 images (an hour on two cores, after make repro)"
	@echo "make up               MLflow, exporter, dashboard, and Prometheus and Grafana if installed, until Ctrl-C"
	@echo "make dashboard        the dashboard alone, on http://127.0.0.1:8501"
	@echo "make env              write passwords for docker compose to .env"
	@echo "make ui               the MLflow UI on http://127.0.0.1:5000"
	@echo "make clean            remove all outputs except the data, the runs and the environment"

setup: $(READY)

$(READY): pyproject.toml requirements.lock
	@"$(PYTHON)" -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))" 2>/dev/null || { echo "make: Python 3.11 is required; install it, or pass its path: make PYTHON=/path/to/python3.11" >&2; exit 69; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) from requirements.lock (a few minutes the first time)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

repro: $(READY)
	@git rev-parse --git-dir >/dev/null 2>&1 || $(BIN)/dvc config --local core.no_scm true
ifneq ($(value DATA),)
	@$(BIN)/tracewright use-data "$$DATA_FOLDER"
endif
	@$(BIN)/tracewright check
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro report
	@echo "read the results in reports/report.md; compare runs with \`make ui\`; vectorise with $(BIN)/tracewright vectorize FOLDER -o OUT"

agent: $(READY)
	$(BIN)/tracewright models ship

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(PYTEST)

bench: $(READY)
	$(BIN)/python -m benchmarks.bench_catalogue
	$(BIN)/python -m benchmarks.bench_categories
	$(BIN)/python -m benchmarks.bench_evaluate
	$(BIN)/python -m benchmarks.bench_pieces
	$(BIN)/python -m benchmarks.bench_train
	$(BIN)/python -m benchmarks.bench_vectorize --folder 150
	$(BIN)/python -m benchmarks.bench_checkpoints

bench-checkpoints: $(READY)
	$(BIN)/python -m benchmarks.bench_checkpoints

bench-tracking: $(READY)
	$(BIN)/python -m benchmarks.bench_tracking

bench-exporter: $(READY)
	$(BIN)/python -m benchmarks.bench_exporter

bench-scale: $(READY)
	$(BIN)/python -m benchmarks.bench_scale

bench-dashboard: $(READY)
	$(BIN)/python -m benchmarks.bench_dashboard

bench-evaluate: $(READY)
	$(BIN)/python -m benchmarks.bench_evaluate

bench-agent: $(READY)
	$(BIN)/python -m benchmarks.masters $(LOGOS)
	$(BIN)/python -m benchmarks.headroom $(LOGOS) --store .tracewright/bench
	$(BIN)/python -m benchmarks.stopping $(LOGOS) --store .tracewright/bench
	TRACEWRIGHT_LOGOS=$(LOGOS) $(BIN)/python -m benchmarks.bench_agent --store .tracewright/bench --markdown reports/bench-agent.md

bench-pieces: $(READY)
	$(BIN)/python -m benchmarks.bench_pieces

profile: $(READY)
	$(BIN)/python -m benchmarks.profile_evaluate docs/images/profile.png

faults: $(READY)
	TRACEWRIGHT_RANDOM_SETTINGS=10000 TRACEWRIGHT_KILLS=500 TRACEWRIGHT_STOPS=200 TRACEWRIGHT_EVERY_BOUNDARY=1 \
	TRACEWRIGHT_FLIPS=100000 TRACEWRIGHT_GUARDS=1 TRACEWRIGHT_SERVER_KILLS=50 TRACEWRIGHT_STALL_SECONDS=30 \
	TRACEWRIGHT_STARTS=4 TRACEWRIGHT_TROUBLES=4 \
	TRACEWRIGHT_TALLY=$${TRACEWRIGHT_TALLY:-$(CURDIR)/.tracewright/faults.jsonl} $(PYTEST) tests/faults

soak: $(READY)
	$(BIN)/python -m benchmarks.soak

nightly: test faults soak bench
	TRACEWRIGHT_EXAMPLES=300 $(PYTEST) -m 'nightly or hypothesis'

up: $(READY)
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(BIN)/python -m monitoring.up $(ONLY)

dashboard: $(READY)
	@$(BIN)/python -m dashboard

env: $(READY)
	@$(BIN)/python -m monitoring.passwords

ui: $(READY)
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(BIN)/python -m pipeline.tracking.ui

audit: $(READY)
	$(BIN)/pip-audit --requirement requirements.lock --no-deps --disable-pip

lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --upgrade "setuptools>=77"
	.venv-lock/bin/python -m pip install --quiet ".[pipeline,monitoring,dashboard,server,remotes,scale,dev]" "torch==$(TORCH)"
	echo "# Every version, pinned. Made by \`make lock\` from pyproject.toml; do not edit." > requirements.lock
	.venv-lock/bin/python -m pip freeze --all --exclude tracewright --exclude pip | sed 's/+cpu$$//' >> requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info results reports models
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
