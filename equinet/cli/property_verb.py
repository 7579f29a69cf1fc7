"""What the verbs of properties share: a model and a structure in; a table, JSON and figures in a folder out."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equinet.cli.options import add_device_and_dtype, add_modal, add_model, verb_parser

if TYPE_CHECKING:
    from ase import Atoms

    from equinet.simulate.calculator import Calculator


def property_parser(verb: str, description: str, example: str) -> argparse.ArgumentParser:
    """A parser with the model, the structure and the folder of the results; float64 unless asked otherwise."""
    parser = verb_parser(verb, description, example)
    add_model(parser)
    parser.add_argument("structure", metavar="STRUCTURE", type=Path, help="in any format ASE reads")
    parser.add_argument("--frame", default="-1", metavar="I", help="of the structure file (default: -1, the last)")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(verb), metavar="FOLDER", help=f"for the results (default: {verb})"
    )
    parser.add_argument(
        "--relax",
        choices=("nothing", "positions", "cell"),
        default="nothing",
        help="first, to forces below 1e-4 eV/A; cell: positions too (default: nothing, and a structure that is not "
        "at a minimum is refused)",
    )
    add_modal(parser)
    add_device_and_dtype(parser, "float64")
    return parser


def begin(arguments: argparse.Namespace) -> "tuple[Calculator, Atoms]":
    """The calculator and the structure as it stands in the file; the folder is there.

    Raises:
        InputError: a model, a structure or a folder that cannot be; a structure the model cannot take.
    """
    from equinet.cli.structure import check_usable, read_structure
    from equinet.files import make_folder
    from equinet.simulate.calculator import Calculator

    calculator = Calculator(arguments.model, arguments.device, arguments.dtype, modal=arguments.modal)
    atoms = read_structure(arguments.structure, arguments.frame)
    check_usable(calculator, atoms, arguments.structure)
    make_folder(arguments.output)
    return calculator, atoms


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """All options, and the model's checksum: what gives the same numbers again."""
    from equinet.files import sha256

    return vars(arguments) | {"model_sha256": sha256(arguments.model)}
