"""``equinet info``: what a model file holds."""

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from equinet.cli.options import add_model, verb_parser

HELP = "say what a model file holds: architecture, elements, energies, provenance"
DESCRIPTION = """Say what a model file holds: architecture, elements, energies, provenance.

--card makes a model card: what the model is, its data, errors by group, training, known failures and limits, licence
and citation, all from what is recorded in the model file, in its run directory, and in reports of equinet test on this
very file (errors.json in the model's folder or one below, or named with --tests). What is not recorded is said to be
so."""
EXAMPLE = """equinet info runs/quickstart/model.safetensors
  equinet info runs/quickstart/model.safetensors --card -o README.md"""


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: the file is no model.
    """
    parser = verb_parser("info", DESCRIPTION, EXAMPLE)
    add_model(parser)
    parser.add_argument("--all", action="store_true", help="also configuration and statistics of the training")
    parser.add_argument("--card", action="store_true", help="a model card in Markdown")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write the card there, not to the terminal")
    parser.add_argument(
        "--tests",
        metavar="FILE",
        nargs="+",
        type=Path,
        default=[],
        help="errors.json files or report folders for the card (default: those beside the model)",
    )
    arguments = parser.parse_args(argv)
    if arguments.card:
        return _card(arguments)
    if arguments.output or arguments.tests:
        parser.error("-o and --tests belong to --card")
    facts = collect(arguments.model)
    if not arguments.all:
        facts["provenance"] = _essentials(facts["provenance"])
    print("\n".join(_lines(facts)))
    return 0


def _card(arguments: argparse.Namespace) -> int:
    """Print or write the model card."""
    from equinet.files import check_output, check_outputs, replacing
    from equinet.training.card import model_card

    if arguments.output is None:
        sys.stdout.write(model_card(arguments.model, arguments.tests))
        return 0
    check_output(arguments.output)
    check_outputs({"-o": arguments.output}, [arguments.model, *arguments.tests])
    text = model_card(arguments.model, arguments.tests)
    with replacing(arguments.output) as partial:
        partial.write_text(text, encoding="utf-8")
    sys.stdout.write(f"model card: {arguments.output}\n")
    return 0


def collect(path: Path) -> dict[str, Any]:
    """Everything worth knowing about a model file, JSON-able.

    Raises:
        InputError: the file is no model.
    """
    from equinet.elements import SYMBOLS
    from equinet.models import load_model, read_header
    from equinet_kernels import explain

    header = read_header(path)
    potential = load_model(path)
    symbols = [SYMBOLS[number] for number in potential.species]
    columns = {
        "isolated_energy_ev": potential.isolated_energies,
        "scale_ev": potential.scale,
        "shift_ev": potential.shift,
    }
    return {
        "file": str(path),
        "architecture": header["architecture"],
        "hyper_parameters": header["hyper_parameters"],
        "cutoff_angstrom": potential.cutoff,
        "parameters": sum(math.prod(weight.shape) for weight in potential.parameters()),
        "dtype": header["dtype"],
        "species": _species(symbols, columns, potential.modals),
        "subtract_isolated": header["subtract_isolated"],
        "zbl": header["zbl"],
        "units": header["units"],
        "format_version": header["format_version"],
        "equinet_version": header["equinet_version"],
        "kernels_here": {row.operator: f"{row.implementation} ({row.reason})" for row in explain(potential)},
        "provenance": potential.provenance,
    }


def _species(symbols: list[str], columns: dict[str, Any], modals: list[str]) -> dict[str, Any]:
    """The energies of each element, of each level of theory where there are several."""
    if modals:
        rows = {modal: {name: values[m] for name, values in columns.items()} for m, modal in enumerate(modals)}
        return {modal: _species(symbols, row, []) for modal, row in rows.items()}
    return {symbol: {name: float(values[i]) for name, values in columns.items()} for i, symbol in enumerate(symbols)}


def _essentials(provenance: dict[str, Any]) -> dict[str, Any]:
    """Data files, where the E0s come from, errors and versions: what one asks of a model first."""
    essentials = {key: value for key, value in provenance.items() if key not in ("statistics", "config")}
    data = provenance.get("data")
    # a stranger's file may hold anything
    if isinstance(data, dict) and all(isinstance(file, dict) for file in data.values()):
        kept = ("file", "sha256", "frames")
        essentials["data"] = {name: {key: file[key] for key in kept if key in file} for name, file in data.items()}
    statistics = provenance.get("statistics")
    if isinstance(statistics, dict) and "isolated_energies_source" in statistics and not provenance.get("parent"):
        essentials["isolated_energies_from"] = statistics["isolated_energies_source"]
    parent = provenance.get("parent")
    if isinstance(parent, dict) and isinstance(parent.get("provenance"), dict):
        essentials["parent"] = parent | {"provenance": _essentials(parent["provenance"])}
    return essentials


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """One line per fact; tables are indented below their name."""
    lines = []
    for name, value in facts.items():
        label = f"{indent}{name.replace('_', ' ')}"
        if isinstance(value, dict) and value:
            lines += [f"{label}:", *_lines(value, indent + "  ")]
        else:
            text = f"{value:.6f}" if isinstance(value, float) else str(value)
            lines.append(f"{label}: {text}")
    return lines
