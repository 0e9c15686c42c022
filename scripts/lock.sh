#!/bin/sh
# Writes requirements.txt (what runs) and requirements-dev.txt (and what tests, checks and measures),
# every file pinned by its hashes, for every platform and Python that pyproject.toml allows.
set -eu
PIP_COMPILE="${UV:-uv} pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock' ${LOCK_ARGS:-}"
eval "$PIP_COMPILE pyproject.toml -o requirements.txt"
eval "$PIP_COMPILE pyproject.toml --extra dev -c requirements.txt -o requirements-dev.txt"
