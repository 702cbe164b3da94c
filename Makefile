# Two commands do the job: `make run` runs the course, `make test` tests it. `make` alone explains the rest.
SHELL := /bin/sh
PYTHON ?= python3
PROFILE ?= default
NOTEBOOKS ?=
FROM ?=
ARGS ?=
BENCH ?= top_k metrics recommenders text

VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
# The stamp's name carries the checksum of the lock: another lock, another stamp, a new environment. It is
# written last, so an interrupted build never counts as a finished one.
READY := $(VENV)/.ready-$(shell cksum < requirements.lock | tr -d ' \t')
BENCH_READY := $(BENCH_VENV)/.ready-$(shell cat requirements.lock requirements-bench.txt | cksum | tr -d ' \t')

CHECKED := recsys_lib tests benchmarks
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=600 --nbval-sanitize-with=tests/nbval_sanitize.cfg

.PHONY: help run test unit lab refresh student results readme bench lock clean
.DELETE_ON_ERROR:

help:
	@echo "make run       run every notebook in order into build/notebooks/, results into build/results/"
	@echo "               PROFILE=smoke|default|full  NOTEBOOKS=\"01 03\"  FROM=02  ARGS=--keep-going  PYTHON=python3.12"
	@echo "make test      ruff, unit tests, notebook-form tests, nbval over all notebooks"
	@echo "               ARGS=\"-k course\" goes to pytest"
	@echo "make unit      ruff and the unit tests only (quick)"
	@echo "make lab       open the notebooks in JupyterLab"
	@echo "make refresh   re-execute the notebooks and store their outputs  NOTEBOOKS=\"01\""
	@echo "make student   copies without the exercises' solutions into build/student/"
	@echo "make results   keep the results of the last whole default run in results/"
	@echo "make readme    write README's tables and charts, and data/GLOSSARY.md"
	@echo "make bench     side by side with other libraries, in an environment of its own  BENCH=\"top_k text\""
	@echo "make lock      resolve requirements.lock again from pyproject.toml"
	@echo "make clean     remove build/ (the environment and the data stay)"

# $(1) the environment's folder, $(2) what goes into it. Importing matplotlib once builds its font cache, which
# would otherwise announce itself in the first notebook.
define build_environment
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
  { echo "Python 3.11 or newer is needed; '$(PYTHON)' is `$(PYTHON) --version 2>&1 | head -n 1`. Say which: make run PYTHON=python3.12"; exit 1; }
@echo "Building $(1) from $(2); this takes a few minutes, once."
rm -rf $(1)
$(PYTHON) -m venv $(1)
$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(addprefix -r ,$(2))
$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
@$(1)/bin/python -c 'import matplotlib.font_manager'
@touch $@
endef

define check_style
@$(BIN)/python -m ruff check --quiet $(CHECKED)
@$(BIN)/python -m ruff format --check $(CHECKED)
endef

$(READY):
	$(call build_environment,$(VENV),requirements.lock)

$(BENCH_READY):
	$(call build_environment,$(BENCH_VENV),requirements.lock requirements-bench.txt)

run: $(READY)
	@$(BIN)/python -m recsys_lib.course run --profile $(PROFILE) --notebooks "$(NOTEBOOKS)" --from "$(FROM)" $(ARGS)

# One pytest run, so that its last line speaks for everything. The unit tests come first: they fail sooner.
test: $(READY)
	$(check_style)
	@$(BIN)/python -m pytest -q --doctest-modules recsys_lib tests $(NBVAL) $(wildcard notebooks/*.ipynb) $(ARGS)

unit: $(READY)
	$(check_style)
	@$(BIN)/python -m pytest -q --doctest-modules recsys_lib tests $(ARGS)

lab: $(READY)
	@$(BIN)/python -m jupyterlab notebooks

refresh: $(READY)
	@$(BIN)/python -m recsys_lib.course refresh --notebooks "$(NOTEBOOKS)" --from "$(FROM)" $(ARGS)

student: $(READY)
	@$(BIN)/python -m recsys_lib.course student --notebooks "$(NOTEBOOKS)"

results: $(READY)
	@$(BIN)/python -m recsys_lib.course.front.page keep

readme: $(READY)
	@$(BIN)/python -m recsys_lib.course.front.page write

bench: $(BENCH_READY)
	@set -e; for name in $(BENCH); do $(BENCH_VENV)/bin/python benchmarks/$$name.py; done

lock:
	$(PYTHON) -m venv build/lock-venv
	build/lock-venv/bin/pip install --quiet pip-tools
	build/lock-venv/bin/pip-compile --quiet --all-extras --allow-unsafe --strip-extras --no-header \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --upgrade-package torch==2.13.0 --output-file requirements.lock pyproject.toml
	sed -i.bak 's/^\(torch==[0-9.]*\)+.*/\1/' requirements.lock && rm requirements.lock.bak

clean:
	rm -rf build
