"""Folders of DeePMD-kit: type.raw, and set.*/coord.npy, box.npy, energy.npy, force.npy, virial.npy.

eV and Angstrom; the virial is -dE/dstrain in eV, as ours. Systems of mixed types (real_atom_types.npy, virtual atoms
with type -1) are read too.
https://docs.deepmodeling.com/projects/deepmd/en/stable/data/system.html
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers

from equinet.data.formats.options import NAME_ELEMENTS, FormatOptions
from equinet.errors import InputError

SHOWN_SYSTEMS = 5


def read(path: Path, options: FormatOptions, start: int) -> Iterator[Atoms]:
    """Structures of one system from frame ``start`` on, all sets in the order of their names.

    Raises:
        InputError: no system, or not in the npy format; atom types without an element; arrays that do not fit.
    """
    if not (path / "type.raw").is_file():
        trajectories = sorted(path.glob("*.extxyz")) + sorted(path.glob("*.h5"))
        if trajectories and any((path / name).is_file() for name in ("summary.json", "checkpoint.npz")):
            raise InputError(
                f"{path}: a folder of {len(trajectories)} trajectories of equinet md; give one of them, such as "
                f"{trajectories[0]}"
            )
        systems = sorted(str(file.parent.relative_to(path)) for file in path.rglob("type.raw"))
        if systems:
            shown = ", ".join(systems[:SHOWN_SYSTEMS]) + (", ..." if len(systems) > SHOWN_SYSTEMS else "")
            raise InputError(
                f"{path}: a folder of {len(systems)} DeePMD-kit systems ({shown}); give one of them, or make a store "
                f"of all with 'equinet data build {path} -o STORE' and use the store"
            )
        raise InputError(f"{path}: a folder without type.raw is no DeePMD-kit system; give a file, or such a folder")
    sets = sorted(folder for folder in path.glob("set.*") if folder.is_dir())
    if not sets:
        raise InputError(f"{path}: a DeePMD-kit system without set.* folders; convert it to the npy format first")
    types = np.loadtxt(path / "type.raw", dtype=int, ndmin=1)
    numbers = _numbers_of_types(path, options)
    for folder in sets:
        frames = len(np.load(folder / "coord.npy", mmap_mode="r"))
        if start < frames:
            yield from _read_set(folder, types, numbers, not (path / "nopbc").exists(), start)
        start = max(start - frames, 0)


def _numbers_of_types(path: Path, options: FormatOptions) -> np.ndarray:
    names: list[str] = list(options.elements)
    if (path / "type_map.raw").is_file():
        names = (path / "type_map.raw").read_text(encoding="utf-8").split()
    if not names:
        raise InputError(f"{path}: no type_map.raw says which elements its types are; {NAME_ELEMENTS}")
    unknown = [name for name in names if name not in atomic_numbers]
    if unknown:
        raise InputError(
            f"{path}: the type {unknown[0]!r} is no element; correct type_map.raw, or without one {NAME_ELEMENTS}"
        )
    return np.array([atomic_numbers[name] for name in names])


def _read_set(folder: Path, types: np.ndarray, numbers: np.ndarray, periodic: bool, start: int) -> Iterator[Atoms]:
    def array(name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """One frame after the other [F, ...], not yet in memory."""
        path = folder / f"{name}.npy"
        if not path.is_file():
            return None
        values = np.asarray(np.load(path, mmap_mode="r"))  # a view; slices of numpy's own type for maps are slow
        try:
            return values.reshape(-1, *shape)
        except ValueError:
            raise InputError(f"{path}: {values.shape[1:]} numbers in each frame do not fit {list(shape)}") from None

    count = len(types)
    positions = array("coord", (count, 3))
    assert positions is not None
    cells, energies = array("box", (3, 3)), array("energy", ())
    forces, virials = array("force", (count, 3)), array("virial", (3, 3))
    mixed = array("real_atom_types", (count,))
    if periodic and cells is None:
        raise InputError(f"{folder}: neither box.npy nor a file nopbc beside the set; is the system periodic?")
    given = {"box": cells, "energy": energies, "force": forces, "virial": virials, "real_atom_types": mixed}
    for name, values in given.items():
        if values is not None and len(values) != len(positions):
            raise InputError(f"{folder / name}.npy: {len(values)} frames, but coord.npy has {len(positions)}")
    for frame in range(start, len(positions)):
        kinds = types if mixed is None else np.asarray(mixed[frame], dtype=int)
        real = kinds >= 0  # virtual atoms fill up frames of mixed types
        if (kinds >= len(numbers)).any():
            raise InputError(f"{folder}: atom type {kinds.max()}, but only {len(numbers)} elements are named")
        cell = cells[frame] if periodic and cells is not None else None
        atoms = Atoms(numbers[kinds[real]], np.array(positions[frame][real], float), cell=cell, pbc=periodic)
        results: dict[str, object] = {}
        if energies is not None:
            results["energy"] = float(energies[frame])
        if forces is not None:
            results["forces"] = np.array(forces[frame][real], float)
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        if virials is not None:
            atoms.info["virial"] = np.array(virials[frame], float)
        yield atoms
