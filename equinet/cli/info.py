"""``equinet info``: what a model file holds."""

import math
from pathlib import Path
from typing import Any

from equinet.cli.options import add_model, verb_parser

HELP = "say what a model file holds: architecture, elements, energies, provenance"


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: the file is no model.
    """
    parser = verb_parser("info", HELP[0].upper() + HELP[1:] + ".", "equinet info runs/quickstart/model.safetensors")
    add_model(parser)
    parser.add_argument("--all", action="store_true", help="also configuration and statistics of the training")
    arguments = parser.parse_args(argv)
    facts = collect(arguments.model)
    if not arguments.all:
        facts["provenance"] = _essentials(facts["provenance"])
    print("\n".join(_lines(facts)))
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
    if isinstance(statistics, dict) and "isolated_energies_source" in statistics:
        essentials["isolated_energies_from"] = statistics["isolated_energies_source"]
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
