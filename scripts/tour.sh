#!/usr/bin/env bash
# From a potential that others trained to the numbers of a paper: SevenNet-0 imported and compiled; silicon relaxed, its
# equation of state, elastic constants and phonons; melted, and the liquid's structure and diffusion. Leaves
# runs/tour/tour.html, one page with every figure, beside experiment. Two minutes on two CPU cores, and as many for
# the installation.
#
# Steps that are finished are not repeated: remove runs/tour to start anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo; echo "tour: $*"; }
equinet=$PWD/.venv/bin/equinet
python=$PWD/.venv/bin/python

bash scripts/install.sh properties
mkdir -p runs/tour
cd runs/tour

# Runs a command unless what it makes is there; beside its output, the command and its seconds are kept for the page.
step() {
    local made=$1
    shift
    say "equinet $*"
    if [ -e "$made" ]; then
        echo "done before: runs/tour/$made"
        return
    fi
    mkdir -p "$(dirname "$made")"
    local began=$SECONDS
    "$equinet" "$@" 2>&1 | tee "$made.log"
    printf '%s\t%s\n' "$((SECONDS - began))" "equinet $*" >"$made.step"
}

if [ ! -e 7net-0.safetensors ] && ! ls sevenn-*.whl >/dev/null 2>&1; then
    say "SevenNet-0, inside the wheel of sevenn 0.13.0: pip download"
    "$python" -m pip download -q --no-deps sevenn==0.13.0
fi
step 7net-0.safetensors import sevennet 7net-0 -o 7net-0.safetensors
step fast.safetensors compile 7net-0.safetensors -o fast.safetensors
step fast64.safetensors compile 7net-0.safetensors --dtype float64 -o fast64.safetensors

"$python" -c 'from ase.build import bulk; bulk("Si", cubic=True).write("start.extxyz"); (bulk("Si", cubic=True) * 2).write("crystal.extxyz")'
step si.extxyz relax fast64.safetensors start.extxyz --cell --fmax 1e-4 -o si.extxyz
step eos/eos.json eos fast64.safetensors si.extxyz -o eos
step elastic/elastic.json elastic fast64.safetensors si.extxyz -o elastic
step phonons/phonons.json phonons fast64.safetensors si.extxyz -o phonons
step melt.extxyz md fast.safetensors crystal.extxyz --ensemble nvt --temperature 4000 --timestep 2 --steps 500 -o melt.extxyz
step liquid.extxyz md fast.safetensors melt.extxyz --ensemble npt --thermostat bussi --temperature 2200 \
    --timestep 2 --steps 2000 --barostat-time 500 --interval 2 -o liquid.extxyz
step liquid/rdf.json analyze liquid.extxyz -o liquid --start 250 --fit 0.3 1.0

cd ../..
say "the page"
"$python" scripts/tour_page.py runs/tour
