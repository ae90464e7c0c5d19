# Everything runs in .venv, which comes about by itself. Choose its Python with
# PYTHON=python3.12; hand options to pytest or the benchmark with ARGS="-k pool". The tests run in
# as many processes as there are processors, each with servers of its own; JOBS=0 runs them in one,
# for a debugger or `-s`.
BIN := .venv/bin
JOBS ?= $(if $(PGWIRE_TEST_DSN),0,auto)
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --max-worker-restart 2

# The tests of the pure cores: no server, no socket, no clock; seconds altogether.
PURE_TESTS := tests/protocol tests/pgtypes \
	$(wildcard tests/pool/test_core*.py) \
	$(patsubst %,tests/pool/test_%.py,bounds complexity config contract faults faults_sharing histogram ledger machine) \
	$(patsubst %,tests/pool/test_%.py,pace reasons search times waiters walk) \
	$(wildcard tests/test_config*.py) $\
	$(wildcard $(patsubst %,tests/test_%.py,conninfo demands errors keywords parameters)) \
	$(wildcard $(patsubst %,tests/test_%.py,passfile services sqlstate))
HEARTS := pgwire/protocol/*,$\
	pgwire/pool/core.py,pgwire/pool/effects.py,pgwire/pool/slots.py,pgwire/pool/waiters.py,$\
	pgwire/pool/supply.py,pgwire/pool/deadlock.py,pgwire/pool/backoff.py,pgwire/pool/histogram.py,$\
	pgwire/pool/config.py,pgwire/pool/pace.py,pgwire/pool/hub.py,pgwire/pool/feeds.py,$\
	pgwire/pool/times.py,pgwire/pool/reasons.py
PURE_CODE := $(HEARTS),pgwire/pgtypes/*,pgwire/config.py,$\
	pgwire/conninfo.py,pgwire/demands.py,pgwire/errors.py,pgwire/keywords.py,pgwire/parameters.py,$\
	pgwire/passfile.py,pgwire/services.py,pgwire/sqlstate.py

TYPED := pgwire tests $(wildcard benchmarks/*.py examples/*.py tools/*.py)
GENERATORS := $(wildcard tools/generate_*.py)

.PHONY: help demo test lint check cover mutate fuzz bench format clean

help:  ## say what there is to make
	@sed -n 's/^\([a-z]*\): .*## \(.*\)/make \1\t\2/p' Makefile

demo: .venv/.installed-embedded  ## start a PostgreSQL and show the pool at work
	@$(BIN)/python -m pgwire demo

test: .venv/.installed-dev  ## run all tests (PGWIRE_TEST_REQUIRE=1: without skipping)
	@tools/install_test_servers.sh
	$(PYTEST) $(ARGS)

lint: .venv/.installed-dev  ## format, lint, types, layers, generated files
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports --no-logo
	@set -e; for generator in $(GENERATORS); do \
		echo "$(BIN)/python $$generator --check"; $(BIN)/python $$generator --check; done

	@ls -d $(PURE_TESTS) >/dev/null

check: lint  ## all that, and the pure cores' tests
	$(PYTEST) -q -m "not server" $(PURE_TESTS)

cover: .venv/.installed-dev  ## what the pure cores' tests alone cover: all of the two hearts
	$(BIN)/coverage run -m pytest -q -m "not server" $(PURE_TESTS)
	$(BIN)/coverage report --include='$(PURE_CODE)'
	@$(BIN)/coverage report --include='$(HEARTS)' --fail-under=100 --format=total >/dev/null \
		|| { echo 'not every branch of $(HEARTS) is covered'; exit 1; }

mutate: .venv/.installed-mutate  ## mutants of the pool's core that no test notices (some minutes)
	$(BIN)/python tools/mutate.py

SECONDS := 60
TARGET :=

fuzz: .venv/.installed-fuzz  ## make up inputs for the parsers (TARGET=conninfo SECONDS=3600)
	$(BIN)/python tools/fuzz.py --seconds $(SECONDS) $(ARGS) $(TARGET)

bench: .venv/.installed-dev  ## pgwire against its peers (ARGS="--only rows --quick" and so on)
	@tools/install_test_servers.sh
	$(BIN)/python benchmarks/suite.py $(ARGS)

format: .venv/.installed-dev  ## put the code into shape
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:  ## remove .venv and all that tools have left
	rm -rf .venv build dist mutants .fuzz .coverage .coverage.* htmlcov benchmarks/out
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.installed-%: pyproject.toml tools/make_venv.sh
	@tools/make_venv.sh $*
