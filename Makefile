# The two commands to know are `make run` and `make test`. Both create what they need.
#
#   make PYTHON=/path/to/python3 …   another interpreter than the first that fits (make clean first)
#   make test PYTEST_ARGS='-k word'  arguments for pytest (-n0: all tests in one process)
#   make bench QUICK=1               a short one

.POSIX:
SHELL = /bin/sh
PYTHON ?=
PYTEST_ARGS ?=

env = PYTHON='$(PYTHON)' requirements/env.sh
python = .venv/bin/python
# What is Python and ours; bench is left out while there is none.
sources = supervisor tests $(wildcard bench)

# One worker for each processor, see tests/conftest.py. Each file is run by one of them, in its order,
# and in the order of collection: the longest files are in the middle. Groups (--dist loadgroup) are
# none with this pytest: xdist 3.8 marks their tests in a way that pytest 9.2 no longer shows.
workers = -n auto --dist loadfile --no-loadscope-reorder

# Where this is set, every piesd that a test starts would compile all of ours again.
test quick: export PYTHONDONTWRITEBYTECODE =

.PHONY: help run test quick chaos bench format lock changelog clean

help:
	@echo 'make run        run piesd in the foreground on conf.d/'
	@echo 'make test       everything that CI runs: format, lint, import directions, types, tests'
	@echo 'make quick      the tests of the inside alone, with few examples, in seconds'
	@echo 'make chaos      kill piesd and what it depends on again and again, for long'
	@echo 'make format     format the code and mend what the linter can mend'
	@echo 'make bench      measure what piesd costs (QUICK=1: in a minute); see docs/performance.md'
	@echo 'make lock       write requirements/*.lock anew (LOCK_ARGS=--upgrade: the newest that fits)'
	@echo 'make changelog  show what the next release says in CHANGELOG.md'
	@echo 'make clean      remove what these commands made'

# exec, so that a signal to the process that make started is a signal to piesd.
run:
	@$(env)
	@exec $(python) -m supervisor -c conf.d

# One recipe, so that the steps keep their order under `make -j`. pytest is last: the last line says
# how many tests passed.
test:
	@$(env)
	@echo '== format'
	$(python) -m ruff format --check .
	@echo '== lint'
	$(python) -m ruff check .
	@echo '== import directions'
	.venv/bin/lint-imports --no-logo
	@echo '== types'
	$(python) -m mypy $(sources)
	@echo '== news fragments'
	$(python) -m towncrier build --draft --version next >/dev/null
	@echo '== tests'
	$(python) -m pytest $(workers) $(PYTEST_ARGS)

# The same tests as in `test`, for half an hour. CHAOS_SEED=N does one of them again.
chaos:
	@$(env)
	CHAOS=1 $(python) -m pytest -s $(PYTEST_ARGS) tests/chaos

quick:
	@$(env)
	QUICK=1 $(python) -m pytest -q $(workers) $(PYTEST_ARGS) tests/inside

bench:
	@$(env)
	$(python) -m bench $(BENCH_ARGS)

format:
	@$(env)
	$(python) -m ruff check --fix --show-fixes .
	$(python) -m ruff format .

lock:
	@$(env)
	requirements/lock.sh $(LOCK_ARGS)

changelog:
	@$(env)
	@$(python) -m towncrier build --draft --version next

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache tests/.ruff_cache
	rm -rf .import_linter_cache .hypothesis
	find supervisor tests $(wildcard bench) -name __pycache__ -type d -prune -exec rm -rf {} +
