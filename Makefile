# The two commands a newcomer needs: `make run` and `make test`. Each sets up all it uses.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: run test install check bench fuzz lock clean

run: $(VENV)/.installed
	$(BIN)/api-gateway up --config config --demo

test: $(VENV)/.installed
	PYTHON=$(BIN)/python scripts/test.sh $(TEST_ARGS)

install: $(VENV)/.installed

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed
	$(BIN)/python -m bench $(BENCH_ARGS)

# Both upstream clients against spoilt responses, for a minute: FUZZ_ARGS="--seconds 600 --seed 1".
fuzz: $(VENV)/.installed
	$(BIN)/python -m tests.integration.upstreams.fuzz $(FUZZ_ARGS)

# Pins every dependency with its hashes; the files name no package index.
lock: $(VENV)/.installed
	scripts/lock.sh

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/.installed: requirements-dev.txt pyproject.toml scripts/install.sh
	PYTHON=$(PYTHON) VENV=$(VENV) scripts/install.sh
	touch $@
