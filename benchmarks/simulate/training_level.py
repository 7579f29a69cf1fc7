"""Elastic constants of potentials against the DFT that they were trained on, from the strained cells of their own data.

    python benchmarks/simulate/training_level.py --data FOLDER --work FOLDER

FOLDER of the data holds mlearn_Si/train.extxyz and mlearn_Mo/train.extxyz (Zuo et al., J. Phys. Chem. A 124, 731
(2020)), whose Elastic groups are cells strained by up to 10 %, ions clamped. The DFT's constants are the odd part of
its stresses over strains of 2 and 4 %, and beside them the curvature of its energies: where the two differ, no
potential can have both, since its stress is the derivative of its energy. The potential's are of `equinet elastic` at
its own lattice constant, at strains of 0.1 to 0.5 %, and beside them its stresses on the very frames of the DFT.
Experiment stands beside: it is not what the potential was fitted to. The seed gives initial weights, order of batches
and validation frames. What is in the work folder already is not trained again.
"""

import argparse
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.stress import full_3x3_to_voigt_6_strain

from equinet import Calculator
from equinet.files import replacing
from equinet.simulate.properties.elastic import ElasticSettings, elastic_tensor, piola_kirchhoff
from equinet.simulate.properties.start import starting_structure
from equinet.units import EV_PER_A3_IN_GPA

ROOT = Path(__file__).resolve().parents[2]
LARGEST_STRAIN = 0.041
"""Of the frames that the DFT's constants are of: beyond it stresses bend by more than their error."""


@dataclass(frozen=True)
class System:
    """A crystal, what is trained for it, and what experiment says.

    Attributes:
        structure: ASE's name of its lattice.
        guess: lattice constant to start from, Angstrom.
        options: of the training, beside configs/mlearn.yaml.
        measured: C11, C12, C44 in GPa; None where ions follow the strain and the frames' do not.
        source: of these.
    """

    structure: str
    guess: float
    options: dict[str, Any]
    measured: tuple[float, float, float | None]
    source: str


SYSTEMS = {
    "Si": System(
        "diamond",
        5.47,
        {},
        (165.8, 63.9, None),
        "298 K, McSkimin and Andreatch, J. Appl. Phys. 35, 2161 (1964); its C44, 79.6, is of ions that follow",
    ),
    "Mo": System(
        "bcc",
        3.17,
        {
            # the third shell, at 4.48 A, lies at the edge of 4.5 A
            "model.architecture.cutoff": 5.5,
            # small strains are a few frames among many hot ones: with the configuration's own weight of stresses, and
            # squared errors, all three came out 7 to 10 % soft. Rare surfaces are the worse for it.
            "model.loss.stress": 4.0,
            "model.loss.second_stage.stress": 10.0,
            **{f"model.loss.{term}_form": "huber" for term in ("energy", "force", "stress")},
        },
        (463.7, 157.8, 109.2),
        "room temperature, Featherston and Neighbours, Phys. Rev. 130, 1324 (1963)",
    ),
}
NAMES = ("C11", "C12", "C44")


def train(element: str, seed: int, data: Path, work: Path, epochs: int | None) -> Path:
    """The potential's model file."""
    run = work / f"{element}-{seed}"
    if not (run / "model.safetensors").is_file():
        options = {"seed": seed, "data.split_seed": seed, "resume": "auto", "trainer.max_time": "null"}
        options |= SYSTEMS[element].options | ({} if epochs is None else {"trainer.max_epochs": epochs})
        options |= {"data.train_path": data / f"mlearn_{element}" / "train.extxyz", "run_dir": run}
        command = [sys.executable, "-m", "equinet.cli", "train", "--config", str(ROOT / "configs" / "mlearn.yaml")]
        command += [str(part) for key, value in options.items() for part in (f"--{key}", value)]
        subprocess.run(command, check=True)
    return run / "model.safetensors"


@dataclass(frozen=True)
class Strained:
    """A cell of a strain series.

    Attributes:
        series: the cells that differ by the amount of the same strain.
        amount: with its sign, as the frame's description has it.
        strain: [6], Green-Lagrange, against the cell without strain.
        deformation: [3, 3].
        frame: with the DFT's stress.
    """

    series: str
    amount: float
    strain: np.ndarray
    deformation: np.ndarray
    frame: Atoms


def unstrained(frames: Sequence[Atoms]) -> Atoms:
    """The cell that mlearn's strain series start from."""
    (ground,) = (each for each in frames if each.info.get("description") == "Ground state crystal")
    return ground


def strained_cells(frames: Sequence[Atoms]) -> list[Strained]:
    """The cells of mlearn's strain series: "mode 2, strain -0.04" in their descriptions."""
    ground = unstrained(frames)
    found = []
    for frame in frames:
        said = re.search(r"mode (\d), strain (-?[\d.]+)", str(frame.info.get("description", "")))
        if said:
            deformation = np.linalg.solve(ground.cell.array, frame.cell.array)
            strain = (deformation @ deformation.T - np.eye(3)) / 2  # rows are vectors
            voigt = full_3x3_to_voigt_6_strain(strain + np.eye(3))
            found.append(Strained(said[1], float(said[2]), voigt, deformation.T, frame))
    return found


@dataclass(frozen=True)
class Opposites:
    """Two cells of a series whose amounts of strain differ by the sign.

    Attributes:
        line: the series, and the component of the strain that it has.
        strain: of that component, with the sign of the first cell.
        cells: numbers of the two.
    """

    line: tuple[int, str]
    strain: float
    cells: tuple[int, int]


def opposites(cells: Sequence[Strained]) -> list[Opposites]:
    """All pairs of opposite amounts, in strain series with one component of the strain each."""
    found = []
    for number, plus in enumerate(cells):
        for other, minus in enumerate(cells):
            if plus.series == minus.series and 0 < plus.amount == -minus.amount:
                change = (plus.strain - minus.strain) / 2
                component = int(abs(change).argmax())
                found.append(Opposites((component, plus.series), float(change[component]), (number, other)))
    return found


def slopes(cells: Sequence[Strained], stresses: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    """Slope of the stress by the strain, from pairs of opposite amounts: what is even in it drops out.

    Args:
        cells: of strain series.
        stresses: [6] for each cell, of Cauchy.

    Returns:
        [6] for each component of the strain that a series has; series of the same component are averaged.
    """
    turned = [piola_kirchhoff(stress, cell.deformation) for cell, stress in zip(cells, stresses, strict=True)]
    lines = defaultdict(list)
    for pair in opposites(cells):
        if abs(pair.strain) < LARGEST_STRAIN:
            above, below = (turned[number] for number in pair.cells)
            lines[pair.line].append((pair.strain, (above - below) / 2))
    found = defaultdict(list)
    for (component, _), points in lines.items():
        found[component].append(sum(x * y for x, y in points) / sum(x * x for x, _ in points))
    return {component: np.mean(each, axis=0) for component, each in found.items()}


def curvatures(cells: Sequence[Strained], energies: Sequence[float], ground: Atoms, energy: float) -> dict[int, float]:
    """Second derivative of the energy density by the strain, eV/Angstrom^3.

    Even polynomials of the fourth order go through pairs of all amounts: at small strains, differences of energies are
    as small as their errors.

    Args:
        cells: of strain series.
        energies: of each cell, eV.
        ground: the cell without strain.
        energy: of this, eV.

    Returns:
        For each component of the strain that a series has; series of the same component are averaged.
    """
    lines = defaultdict(list)
    for pair in opposites(cells):
        above, below = (energies[number] for number in pair.cells)
        lines[pair.line].append((pair.strain, (above + below - 2.0 * energy) / ground.get_volume()))
    found = defaultdict(list)
    for (component, _), points in lines.items():
        strain, density = np.array(points).T
        if len(points) > 1:
            found[component].append(np.linalg.lstsq(np.stack([strain**2, strain**4], axis=1), density)[0][0])
    return {component: float(np.mean(each)) for component, each in found.items()}


def cubic(found: dict[int, np.ndarray]) -> tuple[float, float, float]:
    """C11, C12, C44 of a cubic crystal from slopes [6] by component: means over all that there are."""
    own = [slope[component] for component, slope in found.items() if component < 3]
    others = [
        slope[axis] for component, slope in found.items() if component < 3 for axis in range(3) if axis != component
    ]
    shears = [slope[component] for component, slope in found.items() if component >= 3]
    return float(np.mean(own)), float(np.mean(others)), float(np.mean(shears))


def cubic_of_energies(found: dict[int, float]) -> tuple[float, None, float]:
    """C11 and C44 of a cubic crystal from curvatures by component; strains along one axis say nothing of C12."""
    along = [value for component, value in found.items() if component < 3]
    shears = [value for component, value in found.items() if component >= 3]
    return float(np.mean(along)), None, float(np.mean(shears))


def constants(stiffness: np.ndarray) -> tuple[float, float, float]:
    """C11, C12, C44 of a cubic crystal's tensor [6, 6]."""
    off = [stiffness[i, j] for i in range(3) for j in range(3) if i != j]
    return float(stiffness[:3, :3].trace() / 3), float(np.mean(off)), float(stiffness[3:, 3:].trace() / 3)


def reference(element: str, data: Path) -> tuple[list[Strained], dict[str, Any]]:
    """The strained cells of the data, and the constants that they and experiment give."""
    frames = ase.io.read(data / f"mlearn_{element}" / "train.extxyz", ":")
    cells, ground = strained_cells(frames), unstrained(frames)
    stresses = [cell.frame.get_stress() * EV_PER_A3_IN_GPA for cell in cells]
    energies = [cell.frame.get_potential_energy() * EV_PER_A3_IN_GPA for cell in cells]
    bent = curvatures(cells, energies, ground, ground.get_potential_energy() * EV_PER_A3_IN_GPA)
    return cells, {
        "dft": cubic(slopes(cells, stresses)),
        "dft_from_energies": cubic_of_energies(bent),
        "experiment": SYSTEMS[element].measured,
    }


def measure(element: str, model: Path, cells: Sequence[Strained]) -> dict[str, Any]:
    """Constants of the potential's own crystal, and from its stresses on the DFT's cells."""
    calculator = Calculator(model, device="cpu", dtype="float64")
    stresses = [calculator.get_property("stress", cell.frame.copy()) * EV_PER_A3_IN_GPA for cell in cells]
    guess = bulk(element, SYSTEMS[element].structure, a=SYSTEMS[element].guess, cubic=True)
    crystal = starting_structure(guess, calculator, "cell")
    tensor = elastic_tensor(crystal, calculator, ElasticSettings(relax_ions=False)).clamped_ion
    return {
        "own": constants(tensor.stiffness_gpa),
        "on_the_frames": cubic(slopes(cells, stresses)),
        "lattice_constant_a": float(crystal.cell.lengths()[0]),
    }


def within(value: float, goal: float) -> bool:
    """5 % or 5 GPa."""
    return abs(value - goal) <= max(0.05 * goal, 5.0)


def share_within(values: Sequence[float], goal: float) -> str:
    """How many are near enough."""
    return f"{sum(within(value, goal) for value in values)} of {len(values)}"


def spread(values: Sequence[float]) -> str:
    """Mean, least and largest."""
    return f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def page(results: dict[str, dict[str, Any]]) -> str:
    """A table in Markdown."""
    lines = [
        "# Elastic constants against the training level",
        "",
        "Clamped ions, GPa. DFT: from stresses of the strained cells of the training data, 2 and 4 %; in brackets from "
        "their energies, which imply other constants: a potential, whose stress is the derivative of its energy, "
        "cannot have both. The potential: `equinet elastic` at its own lattice constant, mean over the seeds and the "
        "least and largest, seeds within 5 % or 5 GPa; and the same of its stresses on the frames of the DFT. Made by "
        "`python benchmarks/simulate/training_level.py`.",
        "",
        "| | | DFT (from energies) | Potential | Off by | Within | On the DFT's frames | Within | Experiment |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for element, found in results.items():
        seeds = found["seeds"].values()
        for index, name in enumerate(NAMES):
            dft, bent, experiment = (found[each][index] for each in ("dft", "dft_from_energies", "experiment"))
            own = [seed["own"][index] for seed in seeds]
            on_frames = [seed["on_the_frames"][index] for seed in seeds]
            off = float(np.mean(own)) - dft
            cells = [element, name, f"{dft:.1f}" if bent is None else f"{dft:.1f} ({bent:.1f})", spread(own)]
            cells += [f"{off:+.1f}, {off / dft:+.1%}", share_within(own, dft), spread(on_frames)]
            cells += [share_within(on_frames, dft), "" if experiment is None else f"{experiment:.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"Experiment, {element}: {SYSTEMS[element].source}." for element in results)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train, measure, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="for the runs")
    parser.add_argument("--elements", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    parser.add_argument("--epochs", type=int, help="to try it out")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "reports", help="(default %(default)s)")
    arguments = parser.parse_args()
    results = {}
    data, work = arguments.data.resolve(), arguments.work.resolve()
    for element in arguments.elements:
        cells, results[element] = reference(element, data)
        results[element]["seeds"] = {
            seed: measure(element, train(element, seed, data, work, arguments.epochs), cells)
            for seed in arguments.seeds
        }
    for name, text in (
        ("training_level.json", json.dumps(results, indent=1) + "\n"),
        ("training_level.md", page(results)),
    ):
        with replacing(arguments.out / name) as partial:
            partial.write_text(text, encoding="utf-8")
    print(page(results))


if __name__ == "__main__":
    main()
