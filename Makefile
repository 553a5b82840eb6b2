# make test: every lane that this machine has a Python for, from built wheels. make demo: the main job on real images.
# make search: the same network at thirty weights with one compilation, timed against three by hand; some minutes.
# make bench: what things cost, as ratios to other ways to do them; ARGS=--sizes adds large graphs, which takes an hour.
# make dist: what is released, in dist/, built twice and proved; RELEASING.md says what comes then.
# make table: the README's table of lanes, from what each left when make test last ran it.
# make docs: the site, in docs/_build/html, from Python 3.12; any warning is a failure.
# All need Python 3.9 or later with its headers and venv, and a C++ compiler. Everything else goes into .tools and .nox.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10 python3.9; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1 && echo $$p && break; done)
NOX = .tools/bin/nox --no-error-on-missing-interpreters
ARGS ?=

.PHONY: test table dist demo search bench docs clean needs

test: .tools/bin/nox
	@$(NOX)

table: .tools/bin/nox
	@$(NOX) -s table

dist: .tools/bin/nox
	@$(NOX) -s wheels dist

demo: .tools/bin/nox
	@$(NOX) -s wheels demo -- $(ARGS)

search: .tools/bin/nox
	@$(NOX) -s wheels sparse_search -- $(ARGS)

bench: .tools/bin/nox
	@$(NOX) -s wheels bench -- $(ARGS)

docs: .tools/bin/nox
	@$(NOX) -s wheels docs -- $(ARGS)

.tools/bin/nox: | needs
	@$(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check nox

needs:
	@test -n "$(PYTHON)" || { echo "There is no Python 3.9 or later that runs." \
		"Install one (Debian: apt-get install python3 python3-venv python3-dev)."; exit 1; }
	@$(PYTHON) -c "import venv, ensurepip" 2>/dev/null || { echo "$(PYTHON) has no venv." \
		"Install it (Debian: apt-get install python3-venv)."; exit 1; }
	@command -v g++ >/dev/null || command -v clang++ >/dev/null || { echo "There is no C++ compiler." \
		"Install one (Debian: apt-get install g++)."; exit 1; }

clean:
	rm -rf .tools .nox .cache dist examples/output benchmarks/output docs/_build
