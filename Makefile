# Two commands do the job: `make run` runs the course, `make test` tests it. `make` alone explains the rest.
SHELL := /bin/sh
PYTHON ?= python3
PROFILE ?=
NOTEBOOKS ?=
FROM ?=
ARGS ?=
STUDENT ?=
REPOSITORY ?=
JOBS ?=
BENCH ?= top_k metrics recommenders text

VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
# The stamp's name carries the checksum of the lock: another lock, another stamp, and the environment is updated.
# It is written last, so an interrupted build never counts as a finished one.
READY := $(VENV)/.ready-$(shell cksum < requirements.lock | tr -d ' \t')
TEST_EXTRAS := requirements-kernels.txt requirements-serving-tests.txt requirements-book.txt
KERNELS_READY := $(VENV)/.kernels-$(shell cat requirements.lock $(TEST_EXTRAS) | cksum | tr -d ' \t')
BOOK_READY := $(VENV)/.book-$(shell cat requirements.lock requirements-book.txt | cksum | tr -d ' \t')
BENCH_READY := $(BENCH_VENV)/.ready-$(shell cat requirements.lock requirements-bench.txt | cksum | tr -d ' \t')

CHECKED := recsys_lib tests benchmarks book conftest.py
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=600 --nbval-sanitize-with=tests/nbval_sanitize.cfg
# A variable that a target does not know would be ignored without a word.
KNOWN_run := PROFILE NOTEBOOKS FROM JOBS ARGS
KNOWN_refresh := NOTEBOOKS FROM JOBS ARGS
KNOWN_student := NOTEBOOKS FROM ARGS
KNOWN_test := ARGS
KNOWN_unit := ARGS
KNOWN_older := ARGS
KNOWN_card := NOTEBOOKS ARGS
KNOWN_lab := STUDENT ARGS
KNOWN_bench := BENCH
KNOWN_serve := ARGS
KNOWN_book := REPOSITORY
KNOWN := PYTHON $(foreach goal,$(or $(MAKECMDGOALS),help),$(KNOWN_$(goal)))
GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring command,$(origin $(name))),$(name)))
UNKNOWN := $(filter-out $(KNOWN) MAKEFLAGS MAKEOVERRIDES -%,$(GIVEN))
ifneq ($(UNKNOWN),)
  $(error $(or $(MAKECMDGOALS),make) does not know $(UNKNOWN); it knows: $(KNOWN))
endif

LOCK = build/lock-venv/bin/pip-compile --quiet --allow-unsafe --strip-extras --no-header --no-emit-index-url \
  --no-emit-find-links --no-emit-trusted-host --upgrade-package torch==2.13.0

# This clone's library, whatever was installed.
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
# Where `make` was called: with -C that is elsewhere, which only make's own command line says for sure. Without -C,
# $PWD may be what an outer shell left behind.
ELSEWHERE = $(shell { tr '\0' ' ' < /proc/$$PPID/cmdline || ps -o args= -p $$PPID; } 2>/dev/null | \
  grep -E ' (-[A-Za-z]*C|--directory)')
CALLER = $(if $(and $(PWD),$(ELSEWHERE),$(filter 0,$(MAKELEVEL))),$(PWD),$(CURDIR))
COURSE = @cd "$(CALLER)" && PYTHONSAFEPATH=1 "$(CURDIR)/$(BIN)/python" -m recsys_lib.course

.PHONY: help run test unit older card lab serve book refresh student results tune readme bench fresh lock clean
.DELETE_ON_ERROR:

help:
	@echo "make run       run every notebook in order into build/notebooks/, results into build/results/"
	@echo "               PROFILE=smoke|default|full  NOTEBOOKS=\"01 03\"  FROM=02  JOBS=2  ARGS=--keep-going  PYTHON=python3.12"
	@echo "make test      ruff, unit tests, notebook-form tests, nbval over all notebooks"
	@echo "               ARGS=\"-k course\" goes to pytest"
	@echo "make unit      ruff and the unit tests only (quick)"
	@echo "make older     nbval over all notebooks as on an older processor, with empty caches  ARGS=\"-k 04_bert\""
	@echo "make card      the notebooks that use torch, in smoke, on a pretended graphics card  NOTEBOOKS=\"03\""
	@echo "make lab       open the notebooks in JupyterLab; with STUDENT=1 the students' copies"
	@echo "make serve     the shop at an address of this machine; other addresses need a key  ARGS=\"--port 8000 --workers 2\""
	@echo "make refresh   re-execute the notebooks and store their outputs  NOTEBOOKS=\"01\""
	@echo "make student   copies without the exercises' solutions into build/student/; what was edited stays"
	@echo "make book      the notebooks as a web site in build/book/, with links to Colab if you say  REPOSITORY=owner/name"
	@echo "make results   keep the results of the last whole default run in results/"
	@echo "make tune      try the grids of settings on the validation splits again, into results/tuning.json"
	@echo "make readme    write README's tables and charts, and data/GLOSSARY.md"
	@echo "make bench     side by side with other libraries, in an environment of its own  BENCH=\"top_k text\""
	@echo "make fresh     delete the environment .venv and build it anew: mends whatever is broken in it"
	@echo "make lock      resolve requirements.lock again from pyproject.toml"
	@echo "make clean     remove build/ but for build/student/ (the environment and the data stay)"

# $(1) the environment's folder, $(2) what goes into it. One of ours is updated, so that a CUDA build of torch stays;
# somebody else's is left alone. Importing matplotlib once builds its font cache, which would otherwise announce
# itself in the first notebook.
define build_environment
@if [ -e $(1) ] && ! ls -d $(1)/.ready-* $(1)/.building 2>/dev/null | grep -q .; then \
  echo "$(1) was not made by this Makefile, so it stays as it is. Move it away, or let it be deleted: make fresh"; exit 1; fi
@$(call works,$(1)) || { $(check_python); echo "Building $(1); this takes a few minutes, once."; \
  rm -rf $(1) && mkdir $(1) && touch $(1)/.building && $(PYTHON) -m venv $(1); }
@echo "Installing $(2) into $(1)."
@touch $(1)/.building
$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(addprefix -r ,$(2))
$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
@$(1)/bin/python -c 'import matplotlib.font_manager'
@rm -f $(1)/.ready-* $(1)/.building
@touch $@
endef

works = $(1)/bin/python -c 'import pip' 2>/dev/null

define check_python
command -v "$(PYTHON)" >/dev/null || { echo "There is no '$(PYTHON)' here. Say which Python: make run PYTHON=python3.12"; exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
  { echo "Python 3.11 to 3.14 is needed; '$(PYTHON)' is `$(PYTHON) --version 2>&1`. Say which: make run PYTHON=python3.12"; exit 1; }
endef

# $(1) modules that the target cannot do without.
define check_environment
@$(BIN)/python -c 'import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, sys.argv[1:])))' $(1) 2>/dev/null || \
  { echo "The environment $(VENV) is damaged. Build it anew: make fresh"; exit 1; }
$(if $(findstring command,$(origin PYTHON)),@$(check_python); version='import sys; print(sys.version_info[:2])'; \
  [ "`$(PYTHON) -c "$$version"`" = "`$(BIN)/python -c "$$version"`" ] || \
  { echo "$(VENV) was built with `$(BIN)/python --version`. Build it with another: make fresh PYTHON=$(PYTHON)"; exit 1; })
endef

define check_style
@$(BIN)/python -m ruff check --quiet $(CHECKED)
@$(BIN)/python -m ruff format --check $(CHECKED)
endef

$(READY):
	$(call build_environment,$(VENV),requirements.lock)

$(BENCH_READY):
	$(call build_environment,$(BENCH_VENV),requirements.lock requirements-bench.txt)

$(KERNELS_READY): $(READY)
	@echo "Installing $(TEST_EXTRAS) into $(VENV)."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(addprefix -r ,$(TEST_EXTRAS))
	@rm -f $(VENV)/.kernels-* && touch $@

$(BOOK_READY): $(READY)
	@echo "Installing requirements-book.txt into $(VENV)."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-book.txt
	@rm -f $(VENV)/.book-* && touch $@

# In smoke nobody reads the times: two at a time where there are two cores.
run: AT_A_TIME = $(or $(JOBS),$(if $(filter smoke,$(PROFILE)),$(if $(filter-out 1,$(shell nproc 2>/dev/null)),2)))
run: $(READY)
	$(call check_environment,papermill tqdm torch)
	$(COURSE) run --profile "$(PROFILE)" --notebooks "$(NOTEBOOKS)" --from "$(FROM)"$(if $(AT_A_TIME), --jobs "$(AT_A_TIME)") $(ARGS)

# One pytest run, so that its last line speaks for everything. Two files at a time, on half of the cores each
# (conftest.py); what one file holds stays in order. ARGS="-n 0" is one after the other.
test: $(KERNELS_READY)
	$(call check_environment,pytest nbval ruff xdist)
	$(check_style)
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --doctest-modules recsys_lib tests $(NBVAL) notebooks $(ARGS)

unit: $(KERNELS_READY)
	$(call check_environment,pytest ruff xdist)
	$(check_style)
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --doctest-modules recsys_lib tests $(ARGS)

# Stored outputs must not hang on the processor's last bit: this pretends to be one without AVX-512, on one thread,
# with nothing in the caches. It says little where the machine is of that kind already.
older: export ATEN_CPU_CAPABILITY := avx2
older: export ONEDNN_MAX_CPU_ISA := AVX2
older: export OPENBLAS_CORETYPE := Haswell
older: export MKL_CBWR := AVX2
older: export NPY_DISABLE_CPU_FEATURES := X86_V4 AVX512_ICL
older: export OMP_NUM_THREADS := 1
older: export RECSYS_DATA := $(CURDIR)/build/older
older: $(KERNELS_READY)
	$(call check_environment,pytest nbval xdist)
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile $(NBVAL) notebooks $(ARGS)

# IPython runs what lies in startup/ before the first cell.
card: export IPYTHONDIR := $(CURDIR)/build/card
card: $(READY)
	@mkdir -p build/card/profile_default/startup
	@echo 'import sys; sys.path.insert(0, "$(CURDIR)/tests"); import pretended_gpu; pretended_gpu.install()' \
	  > build/card/profile_default/startup/card.py
	$(COURSE) run --profile smoke --notebooks "$(or $(NOTEBOOKS),02 03 04 05 06)" --output "$(CURDIR)/build/card" $(ARGS)

lab: $(READY)
	$(call check_environment,jupyterlab)
	$(COURSE) lab $(if $(STUDENT),--student) $(ARGS)

serve: $(READY)
	$(call check_environment,fastapi uvicorn sqlalchemy torch)
	@$(BIN)/python -m recsys_lib.online $(ARGS)

book: $(BOOK_READY)
	$(call check_environment,sphinx myst_nb furo fastapi torch)
	@$(BIN)/python book --repository "$(REPOSITORY)"

refresh: $(READY)
	$(call check_environment,papermill tqdm torch)
	$(COURSE) refresh --notebooks "$(NOTEBOOKS)" --from "$(FROM)"$(if $(JOBS), --jobs "$(JOBS)") $(ARGS)

student: $(READY)
	$(call check_environment,nbformat tqdm)
	$(COURSE) student --notebooks "$(NOTEBOOKS)" --from "$(FROM)" $(ARGS)

results: $(READY)
	$(call check_environment,nbformat matplotlib)
	@$(BIN)/python -m recsys_lib.course.front.page keep

tune: $(READY)
	$(call check_environment,scipy torch)
	@$(BIN)/python -m recsys_lib.judging.tune

readme: $(READY)
	$(call check_environment,nbformat matplotlib)
	@$(BIN)/python -m recsys_lib.course.front.page write

bench: $(BENCH_READY)
	@set -e; for name in $(BENCH); do $(BENCH_VENV)/bin/python benchmarks/$$name.py; done

fresh:
	rm -rf $(VENV)
	@$(MAKE) --no-print-directory $(READY)

lock:
	$(PYTHON) -m venv build/lock-venv
	build/lock-venv/bin/pip install --quiet pip-tools
	$(LOCK) --extra course --extra spark --extra test --output-file requirements.lock pyproject.toml
	sed -i.bak 's/^\(torch==[0-9.]*\)+.*/\1/' requirements.lock && rm requirements.lock.bak
	$(LOCK) --no-annotate --extra book --constraint requirements.lock --output-file build/book.lock pyproject.toml
	{ head -n 1 requirements-book.txt; sed 's/^\(torch==[0-9.]*\)+.*/\1/' build/book.lock | grep -vxFf requirements.lock; } \
	  > build/book.new && mv build/book.new requirements-book.txt

clean:
	@if [ -d build ]; then find build -mindepth 1 -maxdepth 1 ! -name student -exec rm -rf {} +; fi
	@if [ -d build/student ]; then echo "build/student/ stays: it may hold a student's work. Delete it by hand."; fi
