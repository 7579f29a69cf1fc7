#!/usr/bin/env bash
# The one check before a commit (without the tests): style, format, types, import directions, file sizes.
# Every check runs, also after one has failed; the exit status is 1 if any did.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
export PATH="$PWD/.venv/bin:$PATH"

status=0
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "check: $name: ok"
    else
        status=1
        printf 'check: %s: FAILED (%s)\n%s\n' "$name" "$*" "$output"
    fi
}
check "style" ruff check --output-format concise .
check "format" ruff format --check --output-format concise .
check "types" mypy
check "import directions" lint-imports
python scripts/check_size.py || status=1
exit $status
