"""From a file to the list of its records, for sets that fit in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from equinet.data.files import read_atoms, units_of
from equinet.data.keys import LabelKeys
from equinet.data.labels import LabelReader, ReadReport
from equinet.data.record import Record


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
    """Read labelled structures from any file ASE reads, or one of our own readers (:mod:`equinet.data.formats`).

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
    frames = read_atoms(path, index)
    reader = LabelReader(str(path), keys, units=units_of(path))
    for _, atoms in frames:
        reader.observe(atoms)
    records = [reader.read(atoms, f"{path} frame {frame}") for frame, atoms in frames]
    report = reader.finish()
    return RecordSet(tuple(record for record in records if record is not None), report)


def read_structures(path: str | Path, index: str | int = ":") -> list[Record]:
    """Read structures as records without labels; those in the file are not looked at.

    Args:
        path: any file ASE reads.
        index: frame or slice, in ASE's notation.

    Raises:
        InputError: the file cannot be read or is empty.
    """
    return [
        Record(
            numbers=atoms.numbers,
            positions=atoms.positions,
            cell=atoms.cell.array,
            pbc=atoms.pbc,
            info={str(key): value for key, value in atoms.info.items()},
            source=f"{path} frame {frame}",
        )
        for frame, atoms in read_atoms(path, index)
    ]
