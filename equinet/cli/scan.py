"""``equinet scan``: a potential where there are no data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from equinet.cli.options import (
    add_device_and_dtype,
    add_modal,
    add_model,
    given,
    positive_integer,
    refuse,
    verb_parser,
)
from equinet.cli.property_verb import settings_of
from equinet.errors import InputError

if TYPE_CHECKING:
    from equinet.simulate.calculator import Calculator

HELP = "a potential where there are no data: two atoms, and a structure pressed and stretched"
DESCRIPTION = """A potential where there are no data: two atoms from 0.5 A to the cutoff, for each pair of elements, and
a structure from half its volume to twice. Flagged are attraction and minima at distances shorter than any bond, forces
that are not -dE/dr, jumps, and energies that fall under compression or expansion. A flag does not fail the command."""
MANY = 4
"""Elements of which all pairs are made without being asked for."""


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: a model, a structure, elements or distances that cannot be.
    """
    parser = verb_parser(
        "scan", DESCRIPTION, "equinet scan model.safetensors --species C O --structure start.extxyz -o scan"
    )
    add_model(parser)
    parser.add_argument(
        "--species", nargs="+", metavar="EL", help="elements of the pairs (default: of the structure, or of the model)"
    )
    parser.add_argument("--structure", type=Path, metavar="FILE", help="to press and stretch")
    parser.add_argument("--frame", metavar="I", help="of the structure file (default: -1, the last)")
    parser.add_argument("-o", "--output", type=Path, default=Path("scan"), metavar="FOLDER", help="(default: scan)")
    parser.add_argument("--shortest", type=float, default=0.5, metavar="X", help="distance, A (default: 0.5)")
    parser.add_argument("--step", type=float, default=0.05, metavar="X", help="between distances, A (default: 0.05)")
    parser.add_argument(
        "--volumes",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
        help="over that given (default: 0.5 2)",
    )
    parser.add_argument("--points", type=positive_integer, metavar="N", help="volumes (default: 61)")
    add_modal(parser)
    add_device_and_dtype(parser, "float64")
    arguments = parser.parse_args(argv)
    if arguments.structure is None:
        refuse(arguments, ["frame", "volumes", "points"], "it is for a structure; name one with --structure")

    from equinet.cli.progress import progress
    from equinet.cli.structure import check_usable, read_structure
    from equinet.files import make_folder
    from equinet.simulate.calculator import Calculator
    from equinet.simulate.properties.dimers import dimer_curve, draw_dimers, pairs_of
    from equinet.simulate.properties.report import write_report
    from equinet.simulate.properties.volumes import POINTS, RANGE, draw_volumes, volume_scan

    calculator = Calculator(arguments.model, arguments.device, arguments.dtype, modal=arguments.modal)
    atoms = None
    if arguments.structure:
        atoms = read_structure(arguments.structure, **given(arguments, ["frame"]))
        check_usable(calculator, atoms, arguments.structure)
    present = [] if atoms is None else list(dict.fromkeys(atoms.get_chemical_symbols()))
    pairs = pairs_of(_species(arguments.species, present, calculator))
    make_folder(arguments.output)
    results: dict[str, Any] = {"dimers": []}
    title = arguments.model.stem
    low, high = arguments.volumes or RANGE
    points = arguments.points or POINTS
    if atoms is not None:
        with progress("volumes", points) as done:
            volumes = volume_scan(atoms, calculator, low, high, points, done)
        results["volumes"] = volumes
    with progress("pairs", len(pairs)) as done:
        for count, pair in enumerate(pairs, 1):
            results["dimers"].append(
                dimer_curve(pair, calculator, calculator.potential.cutoff, arguments.shortest, arguments.step)
            )
            done(count)
    used = {} if atoms is None else {"frame": "-1", "volumes": [low, high], "points": points}
    figures = {"dimers": lambda: draw_dimers(results["dimers"], title)}
    if atoms is not None:
        figures["volumes"] = lambda: draw_volumes(volumes, f"{atoms.get_chemical_formula()}, {title}")
    paths = write_report(arguments.output, "scan", results, settings_of(arguments, used), figures)
    for curve in results["dimers"]:
        _print("-".join(curve.elements), curve.flags)
    if atoms is not None:
        _print(f"{atoms.get_chemical_formula()}, {low:g} to {high:g} of its volume", volumes.flags)
    print(*paths, sep="\n")
    return 0


def _species(asked: list[str] | None, present: list[str], calculator: "Calculator") -> list[str]:
    from equinet.elements import SYMBOLS

    known = [SYMBOLS[number] for number in calculator.potential.species]
    if asked:
        unknown = [symbol for symbol in asked if symbol not in known]
        if unknown:
            raise InputError(f"--species: the model does not know {unknown[0]!r}; it knows {', '.join(known)}")
        return asked
    if present:
        return present
    if len(known) > MANY:
        raise InputError(f"the model knows {len(known)} elements; say of which pairs are to be made with --species")
    return known


def _print(name: str, flags: tuple[str, ...]) -> None:
    print(f"{name}: {'no flag' if not flags else flags[0]}")
    for flag in flags[1:]:
        print(f"{'':{len(name)}}  {flag}")
