# `make demo` and `make test` need only Python 3.11 or newer with venv; each makes .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check-long

demo: .venv/.installed
	$(BIN)/python -m cyclestyle.demo $(DEMO)

test: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not long and not gpu"

check-long: .venv/.installed
	$(BIN)/python -m pytest -m long

.venv/.installed: setup.cfg pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; set PYTHON=python3.12, say')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -e '.[dev]'
	touch $@
