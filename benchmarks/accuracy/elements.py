"""Twenty elemental crystals with one universal potential: relaxed, compressed and stretched; lattice constants beside
experiment.

    python benchmarks/accuracy/elements.py 7net-0-fast.safetensors --figure elements.png --json rows.json

Each primitive cell is relaxed, shape included; energies at 11 volumes within 12 % give a bulk modulus (Birch, Phys.
Rev. 71, 809 (1947)). Experimental lattice constants are those of ASE's table (``ase.data.reference_states``: Ashcroft
and Mermin, Solid State Physics, 1976; mostly at room temperature, not corrected for zero-point motion). Universal
potentials are trained on such crystals: this shows that nothing is wrong, never that they generalise.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import ase.build
import numpy as np
from ase import Atoms, units
from ase.data import atomic_numbers, reference_states
from ase.eos import EquationOfState

from benchmarks.rows import markdown_table, write_rows
from equinet import Calculator
from equinet.simulate import relax_cell

ELEMENTS = ["Li", "Na", "Mg", "Ca", "Ti", "V", "Fe", "Ni", "Cu", "Zn"]
ELEMENTS += ["Mo", "Ag", "W", "Pt", "Au", "Al", "Pb", "C", "Si", "Ge"]
FMAX = 1e-3  # eV/Angstrom
STRETCHES = np.linspace(0.88, 1.12, 11)  # of the volume
CUBIC = {"fcc": 4, "bcc": 2, "diamond": 8}  # atoms in the cubic cell
COLUMNS = {
    "element": "",
    "lattice": "",
    "a": ".3f",
    "a_experiment": ".3f",
    "a_error_percent": "+.1f",
    "c": ".3f",
    "c_experiment": ".3f",
    "c_error_percent": "+.1f",
    "bulk_modulus_gpa": ".0f",
}


def lattice_constants(atoms: Atoms, lattice: str) -> tuple[float, float | None]:
    """a, and c of a hexagonal crystal, Angstrom."""
    if lattice == "hcp":
        lengths = atoms.cell.lengths()
        return float(lengths[0]), float(lengths[2])
    return float((atoms.get_volume() / len(atoms) * CUBIC[lattice]) ** (1 / 3)), None


def measure(element: str, calculator: Calculator) -> dict[str, Any]:
    """Relax a crystal and walk along its volume."""
    state = reference_states[atomic_numbers[element]]
    lattice = str(state["symmetry"])
    a_experiment = float(state["a"])
    c_experiment = a_experiment * float(state["c/a"]) if lattice == "hcp" else None
    relaxed = relax_cell(ase.build.bulk(element), calculator, FMAX, optimizer="bfgs")
    if not relaxed.converged:
        raise RuntimeError(f"{element} is not relaxed after {relaxed.steps} steps")
    a, c = lattice_constants(relaxed.atoms, lattice)
    volumes, energies = [], []
    for stretch in STRETCHES:
        atoms = relaxed.atoms.copy()
        atoms.set_cell(atoms.cell * stretch ** (1 / 3), scale_atoms=True)
        volumes.append(atoms.get_volume() / len(atoms))
        energies.append(calculator.get_property("energy", atoms) / len(atoms))
    volume, _, modulus = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    return {
        "element": element,
        "lattice": lattice,
        "a": a,
        "a_experiment": a_experiment,
        "a_error_percent": 100 * (a / a_experiment - 1),
        "c": c,
        "c_experiment": c_experiment,
        "c_error_percent": None if c is None or c_experiment is None else 100 * (c / c_experiment - 1),
        "bulk_modulus_gpa": modulus / units.GPa,
        "fitted_volume": volume,
        "volumes": volumes,
        "energies": energies,
    }


def draw(rows: list[dict[str, Any]], title: str, path: Path) -> None:
    """Energy over volume, one panel for each crystal, and all errors of lattice constants."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 7.2), layout="constrained")
    figure.suptitle(title, fontsize=11)
    left, right = figure.subfigures(1, 2, width_ratios=(2.4, 1))
    for axes, row in zip(left.subplots(4, 5).flat, rows, strict=True):
        energies = 1e3 * (np.array(row["energies"]) - min(row["energies"]))
        axes.plot(row["volumes"], energies, "o-", color="#1f5fa8", markersize=3, linewidth=1)
        axes.set_title(f"{row['element']}, {row['lattice']}", fontsize=9)
        experiment = row["a_experiment"] ** 3
        if row["lattice"] == "hcp":
            experiment = np.sqrt(3) / 4 * row["a_experiment"] ** 2 * row["c_experiment"]
        else:
            experiment /= CUBIC[row["lattice"]]
        axes.axvline(experiment, color="#d9772b", linewidth=1, linestyle="--")
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
    left.supxlabel("volume, Å³ an atom (dashed: experiment)", fontsize=9)
    left.supylabel("energy above the minimum, meV an atom", fontsize=9)
    axes = right.subplots()
    places = np.arange(len(rows))
    axes.axvline(0, color="#777777", linewidth=0.8)
    axes.plot([row["a_error_percent"] for row in rows], places, "o", color="#1f5fa8", label="a")
    hexagonal = [place for place, row in enumerate(rows) if row["c"] is not None]
    axes.plot([rows[place]["c_error_percent"] for place in hexagonal], hexagonal, "D", color="#d9772b", label="c")
    axes.set_yticks(places, [row["element"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("lattice constant against experiment, %")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


def main() -> int:
    """Measure and print the crystals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model file that knows the elements")
    parser.add_argument("--figure", type=Path, default=Path("elements.png"), help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    arguments = parser.parse_args()
    calculator = Calculator(arguments.model, dtype="float64")
    rows = [measure(element, calculator) for element in ELEMENTS]
    if arguments.json:
        write_rows(arguments.json, rows)
    print(markdown_table(rows, COLUMNS))
    errors = np.abs([row["a_error_percent"] for row in rows])
    print(f"mean absolute error of a: {errors.mean():.2f} %, largest {errors.max():.1f} %")
    draw(rows, f"{arguments.model.stem}: {len(rows)} elemental crystals", arguments.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
