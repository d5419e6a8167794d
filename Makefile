# The commands of the README. Each sets up what it needs; what is done is not done again.
.PHONY: demo test check setup bench bench-scale bench-instructions bench-freshness \
    bench-registrations lock help

help:
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' $(MAKEFILE_LIST)

demo: setup	## run the main job and tell its story; KEEP=1 leaves it running
	@.venv/bin/python -m demo $(if $(KEEP),--keep)

test: setup	## run every test, against real Kamailios and SIPp
	@.venv/bin/pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup	## ruff, mypy, import contracts: seconds
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo

bench: setup	## CPU time a call beside the known recipe and a bare relay
	@.venv/bin/python -m bench $(ARGS)

bench-scale: setup	## the same with 10, 1 000 and 100 000 trunks, at one address and at many
	@.venv/bin/python -m bench.scale $(ARGS)

bench-instructions: setup	## instructions a call, counted by callgrind (needs valgrind)
	@.venv/bin/python -m bench.instructions $(ARGS)

bench-freshness: setup	## from the 200 that teaches an address to the first call from there
	@.venv/bin/python -m bench.freshness $(ARGS)

bench-registrations: setup	## what it costs to register, beside Kamailio's own uac module
	@.venv/bin/python -m bench.registrations $(ARGS)

setup:	## Debian packages and .venv
	@tools/setup

lock: setup	## write requirements.lock anew from pyproject.toml
	@.venv/bin/python -m pip install -q pip-tools && .venv/bin/pip-compile -q --extra dev \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    --strip-extras --allow-unsafe -o requirements.lock pyproject.toml
