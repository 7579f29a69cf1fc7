#!/usr/bin/env bash
# Installs equinet with its test and developer tools into .venv, checks style, types, import directions and file sizes,
# then runs all tests but those marked slow. Arguments go to pytest: bash scripts/test.sh -m slow tests/physics
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/install.sh test dev
bash scripts/check.sh
# One thread for each of the workers: they would get in each other's way otherwise.
export OMP_NUM_THREADS=1
exec .venv/bin/python -m pytest -n "${WORKERS:-2}" --dist worksteal --durations 10 --durations-min 2 "$@"
