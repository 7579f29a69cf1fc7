"""What the verbs of properties share: a model and a structure in; a table, JSON and figures in a folder out."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equinet.cli.options import add_device_and_dtype, add_modal, add_model, given, refuse, verb_parser

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


def ion_relaxation(arguments: argparse.Namespace) -> dict[str, Any]:
    """How ions relax in each strained cell, as it was given.

    Raises:
        InputError: given although they do not.
    """
    names = ["fmax", "max_steps"]
    if not arguments.relax_ions:
        refuse(arguments, names, "--no-relax-ions leaves nothing to relax; leave one of them out")
    return given(arguments, names)


def settings_of(arguments: argparse.Namespace, used: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All options, and the model's checksum: what gives the same numbers again.

    Args:
        arguments: parsed.
        used: by name, what the library took where an option was not given.
    """
    from equinet.files import sha256

    used = used or {}
    options = {name: used.get(name) if value is None else value for name, value in vars(arguments).items()}
    return options | {"model_sha256": sha256(arguments.model)}
