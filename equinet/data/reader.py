"""From a file to records: labels found, checked, converted, counted."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from equinet.data.files import read_atoms
from equinet.data.keys import LABELS, Label, LabelKeys, choose_keys, keys_of, option, value_of
from equinet.data.label_values import checked_label
from equinet.data.record import Record
from equinet.data.rivals import count_free_energy_differs, refuse_two_energies, warn_of_rivals
from equinet.errors import DataWarning, InputError


@dataclass(frozen=True)
class ReadReport:
    """What was read from a file, for the log and the model's provenance."""

    path: str
    frames: int  # frames read
    unlabelled: int  # of these, left out because they carry no label
    keys: LabelKeys  # where each label was read from; "free_energy, else energy" if frames differ
    frames_with_energy: int
    frames_with_forces: int
    frames_with_virial: int  # from a stress or a virial
    free_energy_differs: int  # frames whose energy and free energy differ by more than 1 meV/atom
    stress_ignored: int  # frames with a stress label but without three periodic directions

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class RecordSet(Sequence[Record]):
    """The records of one file and the report of how they were read."""

    records: tuple[Record, ...]
    report: ReadReport

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        return self.records[index]

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


def read_records(path: str | Path, keys: LabelKeys | None = None, index: str | int = ":") -> RecordSet:
    """Read labelled structures from any file ASE reads.

    Labels come from the keys that are named, else from calculator results and common names
    (:mod:`equinet.data.keys`). ``free_energy``, which the forces belong to, is preferred to ``energy``. A
    stress (Voigt 6 in ASE's order, 9 or 3 x 3; eV/Angstrom^3, ASE's sign) becomes virial = -volume * stress
    where the structure is periodic in three directions; elsewhere a cell's volume is padding, and the label
    is ignored with a warning. A virial (eV, -dE/dstrain) is taken as it is, for any periodicity.

    Args:
        path: the file.
        keys: names of the keys that hold the labels; None finds them.
        index: frame or slice, in ASE's notation.

    Returns:
        Records in the order of the file, and the report. Frames without any label are left out, with a
        warning.

    Raises:
        InputError: the file cannot be read or is empty; labels that are not finite, not numbers, or of a
            wrong shape; a named key that no frame has; mixed keys; no label in any frame; stress and virial
            that disagree.
    """
    keys = keys or LabelKeys()
    numbered = read_atoms(path, index)
    frames = [atoms for _, atoms in numbered]
    name = str(path)
    chosen = choose_keys(frames, keys, name)
    if keys.energy is None:
        refuse_two_energies(frames, chosen["energy"], name)
    for label in LABELS:
        if getattr(keys, label) is None:
            warn_of_rivals(label, frames, chosen[label], name)

    records = [_record(atoms, f"{name} frame {frame}", chosen) for frame, atoms in numbered]
    labelled = [r for r in records if r.energy is not None or r.forces is not None or r.virial is not None]
    stress_ignored = sum(_has_unusable_stress(atoms, chosen["stress"]) for atoms in frames)
    if stress_ignored:
        _warn(
            f"{name}: the stress label of {stress_ignored} frames is ignored: they are not periodic in three "
            "directions, so their cell's volume is padding; give a virial instead"
        )
    if not labelled:
        there = ", ".join(sorted(set().union(*map(keys_of, frames)))) or "none"
        raise InputError(
            f"{name}: no frame has an energy, forces, stress or virial; keys in the file: {there}; "
            f"name the right ones with {option('energy')}, {option('forces')}, {option('stress')}"
        )
    if len(labelled) < len(frames):
        _warn(f"{name}: {len(frames) - len(labelled)} of {len(frames)} frames carry no label and are left out")
    differs = count_free_energy_differs(frames)
    if differs and keys.energy is None:
        _warn(
            f"{name}: energy and free_energy differ by more than 1 meV/atom in {differs} frames; "
            f"{chosen['energy'][0]} is used; forces belong to free_energy"
        )
    energy_keys = sorted({r.energy_key for r in labelled if r.energy_key}, key=chosen["energy"].index)
    used = {label: chosen[label][0] if chosen[label] else None for label in LABELS}
    used["energy"] = ", else ".join(energy_keys) or None
    report = ReadReport(
        path=name,
        frames=len(frames),
        unlabelled=len(frames) - len(labelled),
        keys=LabelKeys(**used),
        frames_with_energy=sum(r.energy is not None for r in labelled),
        frames_with_forces=sum(r.forces is not None for r in labelled),
        frames_with_virial=sum(r.virial is not None for r in labelled),
        free_energy_differs=differs,
        stress_ignored=stress_ignored,
    )
    return RecordSet(tuple(labelled), report)


def read_structures(path: str | Path, index: str | int = ":") -> list[Record]:
    """Read structures as records without labels; those in the file are not looked at.

    Args:
        path: any file ASE reads.
        index: frame or slice, in ASE's notation.

    Raises:
        InputError: the file cannot be read or is empty.
    """
    none: dict[Label, tuple[str, ...]] = dict.fromkeys(LABELS, ())
    return [_record(atoms, f"{path} frame {frame}", none) for frame, atoms in read_atoms(path, index)]


def _record(atoms: Atoms, source: str, chosen: dict[Label, tuple[str, ...]]) -> Record:
    values: dict[Label, NDArray[np.float64]] = {}
    used: dict[Label, str] = {}
    for label in LABELS:
        for key in chosen[label]:
            value = value_of(atoms, key)
            if value is not None:
                values[label], used[label] = checked_label(label, value, len(atoms), key, source), key
                break
    virial = values.get("virial")
    if "stress" in values and atoms.pbc.all():
        from_stress = -abs(atoms.cell.volume) * values["stress"]
        if virial is None:
            virial = from_stress
        elif np.abs(virial - from_stress).max() > 0.01 * np.abs(virial).max() + 1e-3:
            raise InputError(
                f"{source}: virial {used['virial']!r} and stress {used['stress']!r} disagree (virial "
                f"= -volume * stress, in eV); switch one off: {option('stress')}=none or {option('virial')}=none"
            )
    taken = {key for keys in chosen.values() for key in keys}
    return Record(
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        energy=float(values["energy"]) if "energy" in values else None,
        forces=values.get("forces"),
        virial=virial,
        info={str(k): v for k, v in atoms.info.items() if k not in taken},
        source=source,
        energy_key=used.get("energy"),
    )


def _has_unusable_stress(atoms: Atoms, stress_keys: tuple[str, ...]) -> bool:
    return not atoms.pbc.all() and any(value_of(atoms, key) is not None for key in stress_keys)


def _warn(message: str) -> None:
    warnings.warn(message, DataWarning)
