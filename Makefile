# make test: what a change should pass, with the Python at hand; make test-all: every lane that this machine has a Python
# for; make demo: the main job on real images. Each prints what it takes before it begins.
# make search: the same network at thirty weights with one compilation, timed against three by hand; some minutes.
# make bench: what things cost, as ratios to other ways to do them; ARGS=--sizes adds large graphs, which takes an hour.
# make dist: what is released, in dist/, built twice and proved; RELEASING.md says what comes then.
# make table: the table of lanes in docs/lanes.md, from what each left when it last ran.
# make mutation: changes the core in small ways and asks whether a test fails; a quarter of an hour.
# make docs: the site, in docs/_build/html, from Python 3.12; any warning is a failure.
# All need a Python from 3.10 on with its headers and venv, and a C++ compiler. Everything else goes into .tools and .nox.

USABLE = import ensurepip, os, sys, sysconfig, venv; \
	sys.exit(sys.version_info < (3, 10) or not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
PYTHON := $(or $(PYTHON),$(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c '$(USABLE)' >/dev/null 2>&1 && echo $$p && break; done))
NOX = .tools/bin/nox
JOBS ?= $(shell $(PYTHON) -c 'import os; print(min(os.cpu_count() or 1, 4))')
ARGS ?=

.PHONY: test test-all table dist demo search bench mutation docs clean needs

test test-all demo search: needs

test:
	@echo "make test: lint and types; the core and the standard plugins on NumPy and on one graph library (theano-pymc" \
		"up to Python 3.11, PyTensor after), with the README's first program; a distribution that regkit new makes."
	@echo "With $$($(or $(wildcard .tools/bin/python),$(PYTHON)) --version). About 4 minutes on two processors, and 0.7 GB" \
		"in .tools, .nox and .cache."
	@$(MAKE) --no-print-directory $(NOX)
	@$(NOX) -s lint types here
	@echo "make test passed. Left out: the other Pythons and graph libraries, and the plugins for frameworks and engines" \
		"(JAX, PyTorch, Keras, PyMC, pytensor-ml, theanets, the search), with their pages. make test-all has them all."

test-all: $(NOX)
	@$(NOX) -s plan
	@$(NOX) -t all -j $(JOBS)
	@$(NOX) -s pages

table: $(NOX)
	@$(NOX) -s table

dist: $(NOX)
	@$(NOX) -s dist sdists installed

demo: $(NOX)
	@echo "make demo: an autoencoder on photographs, trained four times. About 3 minutes, and 0.5 GB in .tools and .nox."
	@$(NOX) -s demo -- $(ARGS)

search: $(NOX)
	@$(NOX) -s sparse_search -- $(ARGS)

bench: $(NOX)
	@rm -rf benchmarks/output
	@$(NOX) -t bench -- $(ARGS)
	@$(NOX) -s picture

mutation: $(NOX)
	@$(NOX) -s mutation -- $(ARGS)

docs: $(NOX)
	@$(NOX) -s docs -- $(ARGS)

$(NOX): | needs
	@$(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check "nox>=2026.10"

needs:
	@test -n "$(PYTHON)" || { echo "None of python3 and python3.10 to python3.14 is a Python with venv and headers." \
		"Install them (Debian: apt-get install python3-venv python3-dev)."; exit 1; }
	@command -v g++ >/dev/null || command -v clang++ >/dev/null || { echo "There is no C++ compiler." \
		"Install one (Debian: apt-get install g++)."; exit 1; }

clean:
	rm -rf .tools .nox .cache dist examples/output benchmarks/output docs/_build
