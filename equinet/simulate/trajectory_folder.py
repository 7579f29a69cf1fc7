"""Trajectories of many systems: a file for each in a folder, extended XYZ or torch-sim's HDF5.

Frames wait in memory until there are many, so that files are opened seldom and few at a time.
"""

import errno
import json
import shutil
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from ase import Atoms

from equinet.data.formats.torchsim_hdf5 import TIMESTEP
from equinet.errors import InputError
from equinet.files import WriteError
from equinet.simulate.output import TextAppender, frame_text

Form = Literal["extxyz", "hdf5"]
FORMS: tuple[Form, ...] = get_args(Form)
SUMMARY = "summary.json"
"""In the folder, at the end of a run: "format" of the trajectories, and "systems"."""
WAITING = 20_000
"""Atoms of frames that wait at most."""
HDF5_FILE = 100_000
"""Bytes that a file of torch-sim's takes beside its frames."""
HDF5_ATOM = 200
"""Bytes of an atom in a frame: positions, velocities and forces, each in blocks that are not full."""


class TrajectoryFolder:
    """Files that grow together.

    Args:
        folder: of the files.
        form: of the files.
        count: systems, whose numbers name the files.
        timestep: fs, which torch-sim's files keep in their metadata.
    """

    def __init__(self, folder: Path, form: Form, count: int, timestep: float) -> None:
        if form not in FORMS:
            raise InputError(f"unknown format {form!r}; there are {' and '.join(FORMS)}")
        self.folder, self.form, self.timestep = folder, form, timestep
        self._count = count
        self._waiting: dict[int, list[Atoms]] = {}
        self._atoms = 0

    def path(self, system: int) -> Path:
        """Of a system's file."""
        return _path(self.folder, self.form, self._count, system)

    def append(self, system: int, frame: Atoms) -> None:
        """A frame, whose info has its step.

        Raises:
            WriteError: the disk is full, for instance; each file ends with a whole frame.
        """
        self._waiting.setdefault(system, []).append(frame)
        self._atoms += len(frame)
        if self._atoms > WAITING:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting, self._atoms = self._waiting, {}, 0
        for system, frames in waiting.items():
            try:
                if self.form == "hdf5":
                    _check_room(self.path(system), frames)
                    _append_hdf5(self.path(system), frames, self.timestep)
                else:
                    _append_text(self.path(system), frames)
            except OSError as error:
                raise WriteError(
                    f"cannot write {self.path(system)}: {error.strerror or error}; what was written before is kept; "
                    "make room and go on with --resume"
                ) from error

    def sizes(self, systems: list[int]) -> list[int]:
        """Of the files, to cut them to: bytes, or the last step of HDF5."""
        if self.form == "extxyz":
            return [self.path(system).stat().st_size if self.path(system).is_file() else 0 for system in systems]
        return [0 for _ in systems]

    def cut(self, systems: list[int], sizes: list[int], step: int) -> None:
        """Leave what a checkpoint knew.

        Args:
            systems: whose files.
            sizes: of them, at the checkpoint.
            step: of the checkpoint.

        Raises:
            InputError: a file is missing, shorter than it was, or damaged.
        """
        for system, size in zip(systems, sizes, strict=True):
            path = self.path(system)
            try:
                if self.form == "hdf5":
                    _cut_hdf5(path, step)
                elif size:
                    if path.stat().st_size < size:
                        raise OSError("it is shorter than it was written")
                    with path.open("r+b") as file:
                        file.truncate(size)
            except Exception as error:  # of HDF5 too, which has errors of its own, of many lines
                reason = str(error).strip().splitlines()[-1]
                raise InputError(f"cannot go on with {path} ({reason}); start anew without --resume") from None

    def remove(self, systems: list[int]) -> None:
        """Remove files of earlier runs."""
        for system in systems:
            self.path(system).unlink(missing_ok=True)


def trajectories_of(folder: Path) -> list[Path] | None:
    """The files of the run that the folder's summary is of, in order; None without a summary that says.

    Others, of an earlier run of more systems or in another format, may lie beside them.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        count = len(summary["systems"])
        forms = [summary["format"]] if "format" in summary else FORMS  # of versions that did not say
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if any(form not in FORMS for form in forms):
        return None
    paths = [_path(folder, form, count, system) for form in forms for system in range(count)]
    return [path for path in paths if path.is_file()]


def _path(folder: Path, form: Form, count: int, system: int) -> Path:
    digits = len(str(max(count - 1, 0)))
    return folder / f"{system:0{digits}d}.{'extxyz' if form == 'extxyz' else 'h5'}"


def _append_text(path: Path, frames: list[Atoms]) -> None:
    with path.open("ab", buffering=0) as handle:
        text = TextAppender(path, handle)
        for frame in frames:
            text.write(frame_text(frame))


def _check_room(path: Path, frames: list[Atoms]) -> None:
    """HDF5 that runs out of space damages what is there: say so before.

    Raises:
        OSError: the disk has no room for these frames.
    """
    new = 0 if path.is_file() else HDF5_FILE
    if shutil.disk_usage(path.parent).free < new + HDF5_FILE + HDF5_ATOM * sum(map(len, frames)):
        raise OSError(errno.ENOSPC, "no space is left on the device")


def _append_hdf5(path: Path, frames: list[Atoms], timestep: float) -> None:
    from tables.exceptions import HDF5ExtError
    from torch_sim import TorchSimTrajectory

    steps = [int(frame.info["step"]) for frame in frames]
    about = {TIMESTEP: repr(timestep)}
    try:
        with TorchSimTrajectory(path, mode="a", coerce_to_float32=False, metadata=about) as file:
            file.write_state([_state(frame) for frame in frames], steps, save_velocities=True, save_forces=True)
            energies = np.array([[frame.get_potential_energy()] for frame in frames])
            file.write_arrays({"potential_energy": energies}, steps)
    except HDF5ExtError as error:  # its message has the whole trace
        raise OSError("HDF5 cannot write; is there space?") from error


def _state(frame: Atoms) -> Any:
    """torch-sim's state of one frame, with its periodic directions."""
    import torch
    from torch_sim.integrators.md import MDState

    return MDState(
        positions=torch.from_numpy(frame.positions),
        masses=torch.from_numpy(frame.get_masses()),
        cell=torch.from_numpy(np.array(frame.cell).T.copy())[None],
        pbc=frame.pbc.tolist(),
        atomic_numbers=torch.from_numpy(frame.numbers),
        system_idx=torch.zeros(len(frame), dtype=torch.int64),
        momenta=torch.from_numpy(frame.get_momenta()),
        energy=torch.tensor([frame.get_potential_energy()]),
        forces=torch.from_numpy(frame.get_forces()),
    )


def _cut_hdf5(path: Path, step: int) -> None:
    import tables

    with tables.open_file(str(path), "a") as file:
        for steps in file.list_nodes("/steps"):
            rows = int(np.searchsorted(steps[:], step, side="right"))
            if rows < len(steps):  # an array that never changes may have more rows than steps
                steps.truncate(rows)
                file.get_node("/data", steps.name).truncate(rows)
