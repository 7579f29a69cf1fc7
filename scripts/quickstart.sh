#!/usr/bin/env bash
# From nothing to a trained, tested potential that runs molecular dynamics: installs equinet into .venv, trains
# configs/quickstart.yaml on a sample that ships with the package, tests the result, runs 1 ps of dynamics at constant
# energy with it, and leaves the model, report.json and figures in runs/quickstart/. Five minutes on two CPU cores,
# and two for the installation.
#
# Run again, it keeps a finished training if neither the code nor the configuration has changed, and repeats the rest; a
# training that is out of date or was broken off is moved aside, never overwritten.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo; echo "quickstart: $*"; }
equinet=.venv/bin/equinet
python=.venv/bin/python
config=configs/quickstart.yaml
run=runs/quickstart
stamp=$run/.trained

# The sample's molecules are small: with more threads the cores would mostly wait for each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

bash scripts/install.sh

key=$(find equinet kernels "$config" constraints.txt -type f ! -name '*.pyc' ! -path '*/lib/*' | LC_ALL=C sort | xargs cat | cksum)
if [ -f "$run/model.safetensors" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
    say "$run holds a model trained by this very code and configuration: kept (remove $run to train again)"
else
    if [ -e "$run" ]; then
        aside=$run-until-$(date +%Y%m%d-%H%M%S)
        mv "$run" "$aside"
        say "an earlier run was in $run: moved to $aside"
    fi
    say "training: equinet train --config $config"
    "$equinet" train --config "$config" --run_dir "$run"
    echo "$key" >"$stamp"
fi

test_data=$("$python" -c 'from equinet.data import samples; print(samples.path("glycol", "test"))')
say "testing: equinet test $run/model.safetensors $test_data --by group"
"$equinet" test "$run/model.safetensors" "$test_data" --by group --json "$run/test.json"

# Frame 46 has the mean energy of the frames at 300 K: the dynamics stays near that temperature.
say "1 ps of molecular dynamics at constant energy, started at 300 K: equinet md"
"$equinet" md "$run/model.safetensors" "$test_data" --frame 46 --ensemble nve --temperature 300 \
    --timestep 0.5 --steps 2000 -o "$run/nve.extxyz"

say "report"
"$python" scripts/quickstart_report.py "$run" "$test_data"
