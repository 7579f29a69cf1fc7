"""Seconds of a step of dynamics in LAMMPS, on one process and several, against ASE with the same model, and against
another package's compiled model in ASE.

    python benchmarks/deploy/lammps.py model.safetensors --plugin plugin
    python benchmarks/deploy/lammps.py model.safetensors --plugin plugin --peer nequip=model.nequip.pt2 --threads 2

The model is compiled (``equinet compile``), then run in ASE, and exported and run in LAMMPS, on the same rattled
silicon at 300 K and 1 fs. Sides take turns; numbers are medians of rounds. Processes of LAMMPS have one thread each,
ASE has as many threads as LAMMPS has processes.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms

from benchmarks.inference.case import rattled
from benchmarks.peers import NEQUIP, peer_python
from benchmarks.rows import markdown_table, write_rows
from equinet.bench.comparison import Side, measure_side
from equinet.bench.side import processor_name
from equinet.deploy import export_model
from equinet.models import load_model, save_model
from equinet.models.compilation import compile_potential
from equinet.models.compiled import CompiledNequIPArchitecture

ROUNDS = 3
STRUCTURES = ("Si 64", "Si 512")
BIN = Path(sys.executable).parent
SCRIPT = """plugin load {plugin}/equinetplugin.so
units metal
atom_style atomic
read_data start.data
pair_style equinet {model}
pair_coeff * * {elements}
neighbor 0.5 bin
velocity all create 300 1
timestep 0.001
fix nve all nve
thermo {steps}
thermo_style custom step pe press
run {warm}
run {steps}
"""


def in_lammps(atoms: Atoms, model: Path, plugin: Path, ranks: int, seconds: float, guess: float) -> dict[str, float]:
    """Seconds of a step in LAMMPS, its own clock, and the share of it that is the pair style."""
    elements = sorted(set(atoms.get_chemical_symbols()))
    steps = max(5, round(seconds / guess))
    with tempfile.TemporaryDirectory() as folder:
        ase.io.write(Path(folder, "start.data"), atoms, format="lammps-data", specorder=elements, masses=True)
        text = SCRIPT.format(plugin=plugin, model=model, elements=" ".join(elements), steps=steps, warm=3)
        Path(folder, "in.lammps").write_text(text)
        command = [str(BIN / "mpiexec"), "-n", str(ranks), str(BIN / "lmp"), "-in", "in.lammps", "-log", "log"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        log = Path(folder, "log").read_text()
    loop = float(re.findall(r"Loop time of (\S+)", log)[-1])
    pair = float(re.findall(r"Pair\s*\|[^|]*\|\s*(\S+)", log)[-1])
    return {"step": loop / steps, "pair": pair / steps}


def compare(name: str, model: Path, exported: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """A row: medians of all sides."""
    atoms = rattled(name)
    sides = {"ase": Side("equinet", str(model))}
    if arguments.peer:
        package, _, file = arguments.peer.partition("=")
        sides["peer"] = Side(package, file, str(peer_python(NEQUIP)))
    times: dict[str, list[float]] = {}
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    for _ in range(ROUNDS):
        for key, side in sides.items():
            times.setdefault(key, []).append(measure_side(side, atoms, arguments.seconds, 1.0).step)
        measured = in_lammps(atoms, exported, arguments.plugin, arguments.threads, arguments.seconds, times["ase"][-1])
        times.setdefault("lammps", []).append(measured["step"])
        times.setdefault("pair", []).append(measured["pair"])
        print(f"lammps: {name}: {json.dumps({key: round(v[-1], 5) for key, v in times.items()})}", file=sys.stderr)
    found = {key: statistics.median(values) for key, values in times.items()}
    row = {"name": name, "threads": arguments.threads, "lammps_s": found["lammps"], "ase_s": found["ase"]}
    row |= {"over_ase": found["lammps"] / found["ase"], "pair_share": found["pair"] / found["lammps"]}
    if "peer" in found:
        row |= {"peer_s": found["peer"], "over_peer": found["peer"] / found["lammps"]}
    return row | {"cpu": processor_name()}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model file that knows silicon")
    parser.add_argument("--plugin", type=Path, required=True, help="folder that equinet lammps made")
    parser.add_argument("--peer", metavar="PACKAGE=FILE", help="a compiled model of another package, to run in ASE")
    parser.add_argument("--threads", type=int, default=1, help="of ASE; processes of LAMMPS (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each side and round (default %(default)g)")
    parser.add_argument("--structures", nargs="+", default=list(STRUCTURES), metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    arguments = parser.parse_args()
    arguments.plugin = arguments.plugin.resolve()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        potential = load_model(arguments.model)
        if not isinstance(potential.architecture, CompiledNequIPArchitecture):
            potential = compile_potential(potential).potential
        model, exported = Path(folder, "model.safetensors"), Path(folder, "model.pt")
        save_model(potential, model)
        export_model(potential, "lammps", exported)
        rows += [compare(name, model, exported, arguments) for name in arguments.structures]
    if arguments.json:
        write_rows(arguments.json, rows)
    columns = {"name": "", "threads": "d", "lammps_s": ".4f", "ase_s": ".4f", "over_ase": ".3f", "pair_share": ".2f"}
    if arguments.peer:
        columns |= {"peer_s": ".4f", "over_peer": ".1f"}
    print(markdown_table(rows, columns))
    return 0


if __name__ == "__main__":
    sys.exit(main())
