"""``equinet bench``: what a step of dynamics costs on this machine."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equinet.cli.options import add_device_and_dtype, add_modal, add_model, json_object, positive_integer, verb_parser
from equinet.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from equinet.bench.comparison import Cost, Side
    from equinet.models import Potential

HELP = "measure time and memory of a step of dynamics, also against other packages"
DESCRIPTION = """Measure a step of dynamics on this machine: energy, forces and stress in velocity Verlet from 300 K, by
ASE. Time is split into neighbour list, model and overhead; memory is the peak above the loaded process. Every size runs
in a process of its own; times are medians.

Without --structure, crystals of about --atoms atoms are made: silicon if the model knows it.

--against runs another package on the same structures, in turn. It needs an environment of its own (--peer-python) and a
potential (--peer-model; a model imported from SevenNet meets the potential that it came from)."""
EXAMPLE = """equinet bench model.safetensors
  equinet bench model.safetensors --structure cell.extxyz --timestep 0.5
  equinet bench 7net-0-fast.safetensors --atoms 64 512 --against sevennet --peer-python ~/sevenn/bin/python"""
SAME = 0.01
"""Results that differ by more than this, eV/atom or eV/Angstrom, are not of one potential."""
PEERS = ("sevennet", "mace", "nequip")


def main(argv: list[str]) -> int:
    """Run the verb: 1 when the other package failed on a structure, 0 otherwise.

    Raises:
        InputError: a model, structure or environment that cannot be; a process that failed.
    """
    parser = verb_parser("bench", DESCRIPTION, EXAMPLE)
    add_model(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--structure", metavar="FILE", type=Path, help="run on this structure (the last frame)")
    what.add_argument(
        "--atoms",
        metavar="N",
        nargs="+",
        type=positive_integer,
        default=[64, 512, 4096],
        help="sizes of crystals (default: 64 512 4096)",
    )
    parser.add_argument("--against", choices=PEERS, help="run this package too")
    parser.add_argument("--peer-python", metavar="PYTHON", help="of the environment that has it (default: this one)")
    parser.add_argument("--peer-model", metavar="MODEL", help="its potential: a file, or a name that it knows")
    parser.add_argument(
        "--peer-arguments", metavar="JSON", default="{}", help="more keyword arguments of its calculator, as JSON"
    )
    parser.add_argument("--timestep", type=float, default=1.0, metavar="FS", help="time step, fs (default: 1)")
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="for each size; 3 steps at least (default: 10)"
    )
    parser.add_argument(
        "--plot", metavar="FILE", type=Path, default=Path("bench.png"), help="figure (default: bench.png)"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the numbers")
    add_modal(parser)
    add_device_and_dtype(parser)
    arguments = parser.parse_args(argv)
    if not (0 < arguments.timestep < 100 and 0 < arguments.seconds < 1e5):
        raise InputError(f"--timestep {arguments.timestep} and --seconds {arguments.seconds} must be sensible lengths")
    return _bench(arguments)


def _bench(arguments: argparse.Namespace) -> int:
    from equinet.bench.comparison import difference, measure_side
    from equinet.bench.figure import draw
    from equinet.bench.side import processor_name
    from equinet.cli.progress import progress
    from equinet.files import check_output, check_outputs, replacing
    from equinet.models import available_device, load_model, one_modal

    check_output(arguments.plot, (".png", ".pdf", ".svg"))
    if arguments.json:
        check_output(arguments.json, (".json",))
    check_outputs({"--plot": arguments.plot, "--json": arguments.json}, [arguments.model, arguments.structure])
    available_device(arguments.device)
    potential = one_modal(load_model(arguments.model), arguments.modal)
    sides = _sides(arguments, potential)
    structures = _structures(arguments, potential)
    costs: dict[str, list[Cost]] = {side.package: [] for side in sides}
    failures = []
    with progress("measuring", len(structures) * len(sides)) as done:
        for number, atoms in enumerate(structures):
            for place, side in enumerate(sides):
                try:
                    costs[side.package].append(measure_side(side, atoms, arguments.seconds, arguments.timestep))
                except InputError as error:
                    if place == 0 or number == 0:  # ours must run, and the other at all
                        raise
                    failures.append(str(error))
                done(number * len(sides) + place + 1)
    _print_table(costs, arguments.timestep, str(arguments.model))
    ours, *others = costs.values()
    for rows in others:
        gaps = [difference(row, next(our for our in ours if our.atoms == row.atoms)) for row in rows]
        energy, forces = max(gap.energy for gap in gaps), max(gap.forces for gap in gaps)
        note = "" if max(energy, forces) < SAME else "; these are two potentials: speeds compare, results do not"
        print(f"results differ from {rows[0].package}'s by at most {energy:.1e} eV/atom and {forces:.1e} eV/A{note}")
    title = f"{arguments.model.name} on {ours[0].threads} threads of {processor_name()}, {ours[0].version}"
    draw(costs, arguments.timestep, title, arguments.plot)
    print(f"plot: {arguments.plot}")
    if arguments.json:
        with replacing(arguments.json) as partial:
            numbers = [_plain(row) for rows in costs.values() for row in rows]
            partial.write_text(json.dumps(numbers, indent=2), encoding="utf-8")
    for failure in failures:
        sys.stderr.write(f"equinet: error: {failure}\n")
    return 1 if failures else 0


def _sides(arguments: argparse.Namespace, potential: "Potential") -> "list[Side]":
    """Ours, and the package it meets.

    Raises:
        InputError: no potential of the other, or its arguments are no JSON object.
    """
    from equinet.bench.comparison import Side
    from equinet.interop.sevennet import shipped_name

    ours = Side("equinet", str(arguments.model), device=arguments.device, dtype=arguments.dtype)
    if arguments.modal:
        ours = replace(ours, arguments={"modal": arguments.modal})
    if arguments.against is None:
        if arguments.peer_python or arguments.peer_model or arguments.peer_arguments != "{}":
            raise InputError(f"--peer-... is for another package; add --against {'|'.join(PEERS)}")
        return [ours]
    keywords = json_object("--peer-arguments", arguments.peer_arguments)
    model = arguments.peer_model
    if model is None and arguments.against == "sevennet":
        model = shipped_name(potential)
        if "modal" in potential.provenance:
            keywords.setdefault("modal", potential.provenance["modal"])
    if model is None:
        raise InputError(f"--against {arguments.against} needs a potential of it: give --peer-model")
    dtype = str(potential.dtype).removeprefix("torch.") if arguments.dtype is None else arguments.dtype
    python = arguments.peer_python or ours.python
    return [ours, replace(ours, package=arguments.against, model=model, python=python, dtype=dtype, arguments=keywords)]


def _structures(arguments: argparse.Namespace, potential: "Potential") -> "list[Atoms]":
    """Those to run on, each of another size.

    Raises:
        InputError: a file without a structure that the model can use.
    """
    import torch

    from equinet.bench.crystals import crystal
    from equinet.cli.structure import read_structure

    if not arguments.structure:
        sizes = {len(atoms): atoms for atoms in (crystal(potential.species, count) for count in arguments.atoms)}
        return [sizes[size] for size in sorted(sizes)]
    atoms = read_structure(arguments.structure)
    try:
        potential.check_elements(torch.from_numpy(atoms.numbers))
    except InputError as error:
        raise InputError(f"{arguments.structure}: {error}") from error
    return [atoms]


def _print_table(costs: "dict[str, list[Cost]]", timestep: float, model: str) -> None:
    """One line for each package and size."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from equinet.bench.side import processor_name

    ours = next(iter(costs.values()))
    table = Table(box=SIMPLE)
    names = ["atoms", "", "ms/step", "list", "model", "overhead", "atoms/s", "ns/day", "MiB"]
    for name in names + ["times ours"] * (len(costs) > 1):
        table.add_column(name, justify="left" if name == "" else "right")
    for our in ours:
        for row in (row for rows in costs.values() for row in rows if row.atoms == our.atoms):
            parts = [_milliseconds(part) for part in (row.step, row.neighbor_list, row.model, row.overhead)]
            speed = [f"{row.atoms / row.step:.3g}", f"{row.ns_per_day(timestep):.3g}", f"{row.memory:.0f}"]
            ratio = [] if row is our else [f"{row.step / our.step:.1f}x"]
            table.add_row(f"{row.atoms}" if row is our else "", row.package, *parts, *speed, *ratio)
    console = Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False)
    console.print(
        f"{model}: dynamics at {timestep:g} fs, {ours[0].threads} threads of {processor_name()}", soft_wrap=True
    )
    console.print("; ".join(rows[0].version for rows in costs.values()), soft_wrap=True)
    console.print(table)
    searches, steps = sum(row.searches or 0 for row in ours), sum(row.steps for row in ours)
    console.print(f"neighbours were searched {searches} times, the start included, in {steps} steps that counted")


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:.3g}"


def _plain(cost: "Cost") -> dict[str, Any]:
    """As JSON has it, without the results."""
    kept: Sequence[str] = [name for name in asdict(cost) if name not in ("forces", "stress")]
    return {name: getattr(cost, name) for name in kept}
