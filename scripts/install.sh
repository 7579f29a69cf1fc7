#!/usr/bin/env bash
# Makes .venv and installs equinet into it (editable), at the versions of constraints.txt.
#
#     bash scripts/install.sh             what running needs
#     bash scripts/install.sh test dev    and what testing and developing need
#
# Without a GPU this takes torch's CPU build, from the configured package index if that offers it, else from PyTorch's own
# (PyPI's torch for Linux would bring gigabytes of CUDA libraries). With a GPU it takes the CUDA build; where the Python that
# makes .venv already has a CUDA torch >= 2.10 that sees the GPU (containers, clusters), .venv shares that one instead.
# A second run finds that nothing has changed and does nothing. PYTHON=python3.12 chooses the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "install: $*"; }
fail() {
    echo "install: error: $*" >&2
    exit 1
}
venv_python=.venv/bin/python
log=.venv/install.log

has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; }
has_cuda_torch() {
    "$1" -c 'import sys, torch
new_enough = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 10)
sys.exit(not (new_enough and torch.cuda.is_available()))' >/dev/null 2>&1
}
is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
quietly() {
    "$@" >>"$log" 2>&1 || {
        tail -n 25 "$log" >&2
        fail "'$*' failed; its last lines are above, all of them in $log"
    }
}

has_gpu && device=gpu || device=cpu
extras=$(IFS=, && echo "$*")
stamp=.venv/.installed-${extras:-base}
key=$({ cat pyproject.toml constraints.txt scripts/install.sh kernels/*.py kernels/csrc/cpu/* && echo "$PWD $device"; } | cksum)
if [ -x .venv/bin/equinet ] && [ -d kernels/equinet_kernels/lib ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
    say "equinet${extras:+[$extras]} stands in .venv, nothing has changed"
    exit 0
fi

if ! is_new_enough "$venv_python"; then
    python=${PYTHON:-python3}
    command -v "$python" >/dev/null || fail "no $python here; install Python 3.11 or newer, or name one: PYTHON=/path/to/python3.12"
    is_new_enough "$python" || fail "$python is $("$python" -V 2>&1), equinet needs Python 3.11 or newer; name one: PYTHON=python3.12"
    options=--clear
    if [ "$device" = gpu ] && has_cuda_torch "$python"; then
        options="--clear --system-site-packages"
    fi
    say "making .venv with $("$python" -V) ($(command -v "$python"))"
    # shellcheck disable=SC2086  # the options are words
    "$python" -m venv $options .venv
fi
: >"$log"

torch_version=$(sed -n 's/^torch==//p' constraints.txt)
constraints=constraints.txt
torch_wanted=torch==$torch_version
if [ "$device" = gpu ] && has_cuda_torch "$venv_python"; then
    say "a GPU, and a torch that sees it: kept as it is"
    constraints=.venv/constraints-without-torch.txt
    grep -v '^torch==' constraints.txt >"$constraints"
    torch_wanted="torch>=2.10"
elif [ "$device" = gpu ]; then
    say "a GPU: torch $torch_version with CUDA"
elif [ "$(uname -s)" = Linux ]; then
    torch_wanted=torch==$torch_version+cpu
    if "$venv_python" -m pip install --dry-run --no-deps "$torch_wanted" >>"$log" 2>&1; then
        say "no GPU: torch $torch_version, CPU build"
    else
        say "no GPU: torch $torch_version, CPU build, from PyTorch's package index"
        quietly "$venv_python" -m pip install --no-compile --no-deps --index-url https://download.pytorch.org/whl/cpu "$torch_wanted"
    fi
fi

say "installing equinet${extras:+[$extras]} and what it needs, compiling the kernels (two to four minutes; $log has the details)"
quietly "$venv_python" -m pip install --no-compile -c "$constraints" "$torch_wanted" -e ".${extras:+[$extras]}"
# Compiled here on all cores, as pip would on one: every later start is seconds faster, also where Python may write no
# bytecode. Files that do not compile (templates of other packages) are of no concern.
"$venv_python" -m compileall -q -j 0 .venv/lib >>"$log" 2>&1 || true

if [ "$device" = gpu ] && ! has_cuda_torch "$venv_python"; then
    say "warning: torch does not see the GPU: it is a CPU build, or the driver is too old for it; equinet will run on the CPU." \
        "PyTorch's site lists the builds: .venv/bin/python -m pip install torch --index-url ..." >&2
fi
versions="$(.venv/bin/equinet --version), $("$venv_python" -c 'import torch; print("torch", torch.__version__)')"
kernels=$("$venv_python" -c 'from equinet_kernels import native; print(native.REASON)')
case $kernels in
compiled*) say "CPU kernels: $kernels" ;;
*) say "warning: CPU kernels: $kernels" >&2 ;;
esac
echo "$key" >.venv/.installed-base
echo "$key" >"$stamp"
say "done: $versions"
