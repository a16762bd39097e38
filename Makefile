# Every target works in a fresh clone; what it needs is made first. `make help` lists the targets.

PYTHON ?= python3
BIN := .venv/bin
PYTEST_ARGS ?=
SOURCES := src tests examples tools bench
# mypy refuses a directory without a Python file, so only those that have one are named.
TYPED = $(foreach dir,$(SOURCES),$(if $(shell find $(dir) -name '*.py' -print -quit 2>/dev/null),$(dir)))
BENCHES := startup footprint rpc_overhead journalled copies
LOCK = $(BIN)/uv pip compile --universal --generate-hashes --no-header --no-annotate --quiet

.DEFAULT_GOAL := help
.PHONY: help .venv deps demo test check bench mutants docs lock clean

help: ## list the targets
	@sed -n 's/^\([a-z.]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

.venv: .venv/.stamp ## the virtual environment, from the hash-pinned lock

.venv/.stamp: pyproject.toml requirements.lock tools/venv.sh
	tools/venv.sh $(PYTHON)
	@touch $@

deps: ## install missing system tools and Go when root; say what is missing otherwise
	tools/deps.sh system
	@$(MAKE) -s --no-print-directory .venv
	tools/deps.sh go

demo: deps ## the life of a volume on this machine, step by step
	$(BIN)/moorage demo

test: deps ## every test tier that is possible here; says which it skipped and why
	@tools/deps.sh tests
	@tools/csi_sanity.sh >/dev/null || true
	@tools/peers.sh >/dev/null || true
	@$(BIN)/pytest $(PYTEST_ARGS)

check: .venv ## lint, format, types, layers, generated files, sizes, public API, documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports
	$(BIN)/python tools/gen_proto.py --check
	$(BIN)/python tools/check_sizes.py
	$(BIN)/python tools/api_listing.py --check
	$(BIN)/sphinx-build -q -W -n docs docs/_build/html

bench: .venv ## measurements; compare ratios on one machine, not absolutes
	@set -e; for name in $(BENCHES); do echo "== $$name"; $(BIN)/python -m bench.$$name; done

mutants: deps ## every wrong driver against our rules and csi-sanity; writes docs/reference/mutants.md (root, half an hour)
	@tools/csi_sanity.sh >/dev/null
	$(BIN)/python tools/mutant_report.py

docs: .venv ## the documentation, into docs/_build/html
	$(BIN)/sphinx-build -W -n docs docs/_build/html

lock: .venv ## write requirements.lock and tools/go.lock anew
	$(BIN)/pip install --quiet uv
	$(LOCK) pyproject.toml --all-extras --group build --group dev --group docs --python-version 3.11 -o requirements.lock
	$(LOCK) tools/go.in -o tools/go.lock

clean: ## remove everything that these targets made here
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache docs/_build dist
	find src tests tools bench examples -name __pycache__ -type d -prune -exec rm -rf {} +
