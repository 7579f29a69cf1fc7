"""``equinet verify``: the physics a potential must obey, on our models and on any ASE calculator."""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equinet.cli.options import add_device_and_dtype, add_modal, add_seed, json_object, verb_parser
from equinet.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from equinet.simulate.verify import Check

HELP = "check the physics of a model, or of any ASE calculator"
DESCRIPTION = """Check the physics of a model, or of any ASE calculator: rotation, reflection, translation, permutation,
extensivity, forces and stress as gradients, symmetric Hessian, zero work round closed loops, energy conservation.

Without --structure, small random structures of the model's elements are drawn: bulk, slab, wire, molecule and
triclinic. The table shows the worst structure of each check; the exit code is 1 when a check fails."""
EXAMPLE = """equinet verify model.safetensors --dtype float64
  equinet verify --calculator ase.calculators.emt:EMT --species Cu Au
  equinet verify --calculator mace.calculators:MACECalculator --dtype float32 \\
      --arguments '{"model_paths": "mace.model", "device": "cpu"}' --structure start.extxyz"""


def main(argv: list[str]) -> int:
    """Run the verb: 0 when every check passed, 1 when one failed.

    Raises:
        InputError: a model, calculator or structure that cannot be.
    """
    parser = verb_parser("verify", DESCRIPTION, EXAMPLE)
    parser.add_argument("model", metavar="MODEL", nargs="?", type=Path, help="a model file (*.safetensors)")
    parser.add_argument("--calculator", metavar="MODULE:CLASS", help="an ASE calculator to check instead of a model")
    parser.add_argument(
        "--arguments", metavar="JSON", default="{}", help="keyword arguments of the calculator, as a JSON object"
    )
    parser.add_argument("--structure", metavar="FILE", type=Path, help="check on this structure, slightly rattled")
    parser.add_argument("--species", metavar="EL", nargs="+", help="elements of the random structures")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every check on every structure")
    add_seed(parser)
    add_modal(parser)
    add_device_and_dtype(parser)
    arguments = parser.parse_args(argv)
    if (arguments.model is None) == (arguments.calculator is None):
        parser.error("give a MODEL or --calculator MODULE:CLASS, one of them")
    if arguments.calculator and not (arguments.structure or arguments.species):
        parser.error("with --calculator give --structure FILE or --species EL ...")
    return _verify(arguments)


def _verify(arguments: argparse.Namespace) -> int:
    from equinet.cli.progress import progress
    from equinet.cli.structure import check_usable
    from equinet.files import check_output, check_outputs, replacing
    from equinet.simulate.calculator import Calculator
    from equinet.simulate.verify import DYNAMIC_CHECKS, PRECISIONS, STATIC_CHECKS, run_checks, worst_of_each

    if arguments.json:
        check_output(arguments.json)
        check_outputs({"--json": arguments.json}, [arguments.model, arguments.structure])
    calculator: Any
    if arguments.calculator:
        calculator = load_calculator(arguments.calculator, arguments.arguments)
        dtype, known = arguments.dtype or "float64", []
    else:
        calculator = Calculator(arguments.model, arguments.device, arguments.dtype, modal=arguments.modal)
        dtype = str(calculator.potential.dtype).removeprefix("torch.")
        known = calculator.potential.species
    structures = _structures(arguments, known)
    if arguments.model:
        for name, atoms in structures.items():
            check_usable(calculator, atoms, name)
    # dynamics is long: bulk and molecule stand for the drawn structures
    moving = {name: atoms for name, atoms in structures.items() if name not in ("slab", "wire", "triclinic")}
    still = len(STATIC_CHECKS) * len(structures)
    precision = PRECISIONS[dtype]
    with progress("checking", still + len(DYNAMIC_CHECKS) * len(moving)) as done:
        checks = run_checks(calculator, structures, precision, STATIC_CHECKS, done)
        checks += run_checks(calculator, moving, precision, DYNAMIC_CHECKS, lambda count: done(still + count))
    worst = worst_of_each(checks)
    _print_table(worst, f"{arguments.model or arguments.calculator}, {dtype}, on {', '.join(structures)}")
    if arguments.json:
        with replacing(arguments.json) as partial:
            partial.write_text(json.dumps([_plain(check) for check in checks], indent=2), encoding="utf-8")
    failed = [check.name for check in worst if check.passed is False]
    if failed:
        sys.stderr.write(f"equinet: error: {len(failed)} of {len(worst)} checks failed: {', '.join(failed)}\n")
        return 1
    return 0


def load_calculator(name: str, arguments: str) -> Any:
    """Make the calculator MODULE:CLASS with keyword arguments from JSON; the working directory is searched too.

    Raises:
        InputError: the name or the JSON is malformed, nothing of that name, or it cannot be made.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InputError(f"--calculator {name!r} is not of the form MODULE:CLASS, such as ase.calculators.emt:EMT")
    keywords = json_object("--arguments", arguments)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        kind = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"--calculator {name}: {error}; is the package installed and the name right?") from None
    try:
        return kind(**keywords)
    except Exception as error:  # someone else's code: whatever it raises is the answer
        raise InputError(f"--calculator {name} cannot be made: {type(error).__name__}: {error}") from error


def _structures(arguments: argparse.Namespace, known: Sequence[int]) -> "dict[str, Atoms]":
    from equinet.cli.structure import read_structure
    from equinet.elements import SYMBOLS
    from equinet.simulate.verify import built_in_structures, rattled

    if arguments.structure:
        return {arguments.structure.name: rattled(read_structure(arguments.structure), seed=arguments.seed)}
    species = known
    if arguments.species:
        unknown = [symbol for symbol in arguments.species if symbol not in SYMBOLS[1:]]
        if unknown:
            raise InputError(f"--species: {unknown[0]!r} is no chemical symbol")
        species = [SYMBOLS.index(symbol) for symbol in arguments.species]
    return built_in_structures(species, arguments.seed)


def _plain(check: "Check") -> dict[str, Any]:
    """As JSON has it: there is no NaN, a value that does not exist is null."""
    return {key: None if value != value else value for key, value in asdict(check).items()}


def _print_table(checks: "list[Check]", title: str) -> None:
    """One line per check: verdict, value and threshold, and the numbers behind them."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table("check", "", "value", "at most", "unit", "on", box=SIMPLE)
    table.add_column("numbers", overflow="fold")
    for check in checks:
        verdict = {True: "pass", False: "FAIL", None: "n/a"}[check.passed]
        number = "" if check.value != check.value else f"{check.value:.1e}"
        bound = "" if check.threshold != check.threshold else f"{check.threshold:.1e}"
        table.add_row(check.name, verdict, number, bound, check.unit, check.structure, check.detail)
    width = None if sys.stdout.isatty() else 160
    console = Console(width=width, markup=False, highlight=False)
    console.print(title, soft_wrap=True)
    console.print(table)
