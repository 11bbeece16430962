# Natural Traces: every target sets up what it needs in .venv, once.
#
#   make course   run all lessons headless and print the closing table
#   make test     linters, unit tests, static notebook tests, nbval over both copies of every lesson
#   make lab      JupyterLab, opened at lesson 00
#   make site     lessons, pages and API as HTML in build/site, readable without a network
#
# PYTHON=python3.12 make course   chooses the interpreter of a new .venv (3.11 or newer).

PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
  BIN := $(VENV)/Scripts
else
  BIN := $(VENV)/bin
endif
RUN := $(BIN)/python
READY := $(VENV)/.ready

# One thread a process: numbers repeat, and parallel test processes do not fight for cores.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: course test lab lint unit browser notebooks refresh lock setup clean fuzz site dist
.DELETE_ON_ERROR:

course: $(READY)
	$(RUN) -m helpers course run

test: lint unit notebooks

lab: $(READY)
	$(RUN) -m jupyter lab notebooks/00_start_here.ipynb

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Natural Traces needs Python 3.11 or newer; this is %d.%d. Try: make PYTHON=python3.12" % v[:2])'
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV) || { echo 'No virtual environment could be made. On Debian and Ubuntu: apt install python3-venv'; exit 1; }
	@echo 'Installing the locked packages into $(VENV) (about 3 GB to download on Linux, once) ...'
	$(RUN) -m pip install --quiet --require-hashes -r requirements.lock
	$(RUN) -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(READY)

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

unit: $(READY)
	$(RUN) -m pytest -n 2 --dist loadscope tests

# Every lesson, and the page of `natural-traces app`, in a real browser; screenshots land in build/browser.
browser: $(READY)
	$(RUN) -m pytest tests/test_browser.py tests/test_browser_page.py --all-lessons

notebooks: $(READY)
	$(RUN) -m pytest -n 2 --dist loadscope --nbval notebooks

refresh: $(READY)
	$(RUN) -m helpers course refresh

# Lessons as they are stored, pages and API as HTML with search; warnings, broken links and missing alt texts are errors.
site: $(READY)
	@$(RUN) -c 'import sphinx, myst_nb, pydata_sphinx_theme' 2>/dev/null || $(RUN) -m pip install --quiet --no-build-isolation -e '.[docs]'
	$(RUN) -m sphinx -q -W --keep-going -c docs/site -b html . build/site
	$(RUN) docs/site/check_pages.py build/site
	@echo 'Open build/site/index.html'

# Wheel and source distribution, in dist/.
dist: $(READY)
	$(RUN) -m hatchling build -d dist

# For maintainers: resolve the ranges of pyproject.toml anew, for every platform and Python, with hashes and no index addresses.
lock: $(READY)
	$(RUN) -m pip install --quiet uv
	$(RUN) -m uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade -o requirements.lock

# For maintainers: 10,000 damaged pictures through decode, probe, manifest and score; prints the tally.
fuzz: $(READY)
	$(RUN) tests/mutated_images.py --count 10000

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
