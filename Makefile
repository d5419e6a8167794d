# The commands of the README. Each sets up what it needs; what is done is not done again.
.PHONY: demo test test-fast check fmt cov docs dist deb api-check setup setup-dev bench bench-registrations \
    bench-scale bench-instructions bench-freshness bench-all lock generate help

# The pure tests: no Kamailio, no database server, no sleep.
PURE := $(addprefix tests/unit/,core edge store ipc bench tools)
# `make cov` adds the tests of the agent and of the command line.
COVERED := $(PURE) tests/unit/agent tests/unit/cli

help:
	@sed -n 's/^\([a-z-]*\):.*##[[:space:]]*/make \1	/p' $(MAKEFILE_LIST) | expand -t 28

demo:	## run the main job and tell its story; KEEP=1 leaves it running
	@tools/setup demo
	@.venv/bin/python -m demo $(if $(KEEP),--keep)

test: setup-dev	## run every test, against real Kamailios and SIPp
	@.venv/bin/pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: setup-dev	## run the pure tests alone, without slow ones, with few examples: seconds
	@.venv/bin/pytest -q -n auto --dist load -m "not slow" --hypothesis-profile=fast $(PURE) $(ARGS)

cov: setup-dev	## branch coverage of the pure tests and the agent's: terminal, build/coverage
	@.venv/bin/pytest -q -n 2 --dist loadfile -m "not slow" --cov --cov-report=term \
	    --cov-report=html $(COVERED) $(ARGS)

fmt: setup-dev	## format the code, and repair what ruff can repair
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

check: setup-dev	## ruff, mypy, import contracts, language: seconds
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo
	@.venv/bin/python tools/check_language.py

generate: setup-dev	## write the generated documents anew, as docs/configure.md
	@for tool in tools/generate_*.py; do .venv/bin/python "$$tool" || exit 1; done

docs:	## build the documentation into build/site; a warning is an error
	@tools/environment docs
	@NO_MKDOCS_2_WARNING=1 .make/docs/bin/mkdocs build -q --strict

dist:	## build sdist and wheel into dist, and try the wheel in a fresh environment
	@tools/environment dist
	@tools/dist

deb:	## build the Debian package for this Debian into build/deb
	@tools/deb

api-check: setup	## try the API against its description: schemathesis, a generated client
	@tools/api-check

bench: setup-dev	## CPU time a call beside the known recipe and a bare relay; PEERS=asterisk adds it
	@.venv/bin/python -m bench calls $(PEERS:%=--peer %) $(ARGS)

bench-registrations: setup-dev	## start, registrations, rest, memory, beside Kamailio's uac; PEERS=…
	@.venv/bin/python -m bench registrations $(PEERS:%=--peer %) $(ARGS)

bench-scale: setup-dev	## CPU time a call with 10 and 100 000 trunks, at one address and at many
	@.venv/bin/python -m bench scale $(ARGS)

bench-instructions: setup-dev	## instructions a call, counted by callgrind (needs valgrind)
	@.venv/bin/python -m bench instructions $(ARGS)

bench-freshness: setup-dev	## from the 200 that teaches an address to the first call from there
	@.venv/bin/python -m bench freshness $(ARGS)

bench-all: setup-dev	## all benches, within 25 minutes; writes bench/results
	@.venv/bin/python -m bench all $(ARGS)

setup:	## for operators: the Debian packages and libraries that run Whence
	@tools/setup

setup-dev:	## for developers: and those of tests, bench and checks
	@tools/setup dev

lock: setup-dev	## write the lock files anew from pyproject.toml
	@tools/lock
