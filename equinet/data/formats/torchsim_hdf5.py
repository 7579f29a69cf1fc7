"""Trajectories as torch-sim's TrajectoryReporter writes them: HDF5, an array of frames for each quantity."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from equinet.data.formats.options import FormatOptions
from equinet.errors import InputError

SUFFIXES = (".h5", ".hdf5", ".h5md")  # torch-sim's own examples have the last; H5MD's layout is another
TIMESTEP = "timestep_fs"
"""In the metadata: of the dynamics, where ``equinet md`` wrote the file."""
_NEEDED = ("positions", "atomic_numbers", "cell", "pbc", "masses")


def read(path: Path, options: FormatOptions, start: int) -> Iterator[Atoms]:
    """Structures from frame ``start`` on, of the file of one system; ``info["step"]`` is the step of the dynamics,
    and ``info["time_ps"]`` the time where the file has the time step.

    With velocities where the reporter was told to save them (``state_kwargs={"save_velocities": True}``), and the
    energy where a property of the name ``potential_energy`` or ``energy`` was reported at the same steps.

    Raises:
        InputError: h5py is missing; the file cannot be read, or is not of this kind.
    """
    try:
        import h5py
    except ImportError:
        raise InputError(f"{path}: HDF5 files need h5py; pip install 'equinet-mlip[properties]'") from None
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: cannot be read as HDF5 ({error}); is the file complete?") from None
    with file:
        data: Any = file.get("data", {})
        missing = [name for name in _NEEDED if name not in data]
        if missing:
            raise InputError(
                f"{path}: no trajectory of torch-sim: /data lacks {', '.join(missing)}; write .extxyz instead"
            )
        steps = file["steps/positions"][:]
        energies, timestep = _energies(file), _timestep(file)
        for number in range(start, len(steps)):
            atoms = Atoms(
                numbers=_of(data["atomic_numbers"], number),
                positions=_of(data["positions"], number),
                cell=_of(data["cell"], number).T,  # torch-sim's lattice vectors are columns
                pbc=np.broadcast_to(np.ravel(_of(data["pbc"], number)), 3),
            )
            atoms.set_masses(_of(data["masses"], number))
            if "velocities" in data:
                atoms.set_velocities(data["velocities"][number])  # ASE's unit, as torch-sim's
            step = atoms.info["step"] = int(steps[number])
            if timestep is not None:
                atoms.info["time_ps"] = step * timestep / 1000
            if step in energies:
                atoms.calc = SinglePointCalculator(atoms, energy=energies[step])
            yield atoms


def _of(array: Any, number: int) -> Any:
    """The value of a frame, of an array of all frames or of one that holds for all."""
    return array[number] if len(array) > 1 else array[0]


def _timestep(file: Any) -> float | None:
    """fs."""
    attributes = file["metadata"].attrs if "metadata" in file else {}
    return float(attributes[TIMESTEP]) if TIMESTEP in attributes else None


def _energies(file: Any) -> dict[int, float]:
    for name in ("potential_energy", "energy"):
        if name in file["data"]:
            values = file[f"data/{name}"][:].reshape(-1)
            return dict(zip(file[f"steps/{name}"][:].tolist(), values.tolist(), strict=True))
    return {}
