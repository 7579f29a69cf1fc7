"""``equinet export``: a model as a file for other programs, checked against the model before it is written."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from equinet.cli.options import add_device_and_dtype, add_modal, refuse, verb_parser
from equinet.errors import InputError

if TYPE_CHECKING:
    from equinet.deploy.check import Deviation

HELP = "write a model for C++, LAMMPS or torch without equinet, and check it"
DESCRIPTION = """Write a model as a file that other programs run, and check it first.

  torchscript  a .pt file for torch.jit.load, in Python or C++
  aoti         a .pt2 file that AOTInductor compiled for this machine's kind of device
  lammps       a .pt file for the pair style of our LAMMPS plugin (equinet lammps)

Each takes positions, numbers, cell, pbc, batch, senders, receivers, images (and modal, where the model knows several
levels of theory), edges in any order, and gives energy, atom_energies, forces, virial and stress; the README shows a
C++ program. Within it are the model's species, cutoff, reach, units, licence, and a set of structures with the model's
answers. Before the file gets its name, the artefact is loaded and must give these answers: within 1e-10 in float64,
1e-5 in float32, relative to the largest value of each structure. --check repeats that on the machine where it will run,
on the device that it was made for unless --device names another.

With --operators torch an artefact needs torch alone; with library it calls our compiled operators, which are faster:
load libequinet_ops.so (python kernels/ops_build.py) in the process first."""


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: a model that cannot be read or exported; an artefact that fails its check or is none.
    """
    parser = verb_parser("export", DESCRIPTION, "equinet export model.safetensors --to torchscript -o model.pt")
    parser.add_argument("model", metavar="MODEL", type=Path, nargs="?", help="a model file (*.safetensors)")
    parser.add_argument("--to", metavar="KIND", choices=("torchscript", "aoti", "lammps"), help="what to write")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="the artefact: .pt, for aoti .pt2")
    parser.add_argument("--operators", choices=("torch", "library"), help="see above (default: torch; lammps: library)")
    parser.add_argument("--check", metavar="FILE", type=Path, help="check an artefact that was written before")
    add_modal(parser)
    add_device_and_dtype(parser)
    parser.set_defaults(device=None)  # where an artefact is checked: what it was made for
    arguments = parser.parse_args(argv)
    return _check(arguments) if arguments.check else _export(arguments)


def _check(arguments: argparse.Namespace) -> int:
    if arguments.model or arguments.to or arguments.output:
        raise InputError("--check FILE stands alone; leave out MODEL, --to and --output")
    refuse(arguments, ["dtype", "operators", "modal"], "an artefact is checked as it was written; leave it out")
    from equinet.deploy import check_artefact, load_artefact

    artefact = load_artefact(arguments.check, arguments.device)
    found = check_artefact(artefact)
    header = artefact.header
    print(f"{arguments.check}: {header.kind} of {header.dtype} on {artefact.device}, operators: {header.operators}")
    _print(found)
    if not all(one.passed for one in found):
        raise InputError(f"{arguments.check} does not give its model's answers on this machine; export it again here")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    missing = [name for name in ("model", "to", "output") if not getattr(arguments, name)]
    if missing:
        raise InputError("give MODEL, --to KIND and -o FILE, or --check FILE (equinet export --help)")
    from equinet.files import check_outputs

    check_outputs({"-o": arguments.output}, [arguments.model])

    from equinet.deploy import export_model
    from equinet.models import load_model, one_modal

    potential = load_model(arguments.model, arguments.device or "cpu", arguments.dtype)
    if arguments.modal is not None:
        potential = one_modal(potential, arguments.modal)
    if arguments.to == "aoti":
        sys.stderr.write("equinet: AOTInductor compiles the model, which takes minutes\n")
    found = export_model(potential, arguments.to, arguments.output, arguments.operators)
    print(f"{arguments.output}: {arguments.to}, checked:")
    _print(found)
    return 0


def _print(found: "list[Deviation]") -> None:
    for one in found:
        print(f"  {one.quantity:14s} off by {one.value:.1e} at most, limit {one.limit:.0e} ('{one.structure}')")
