"""Databases of ASE: SQLite (.db), and fairchem's LMDB (.aselmdb) through the package ase-db-backends."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.db import connect

from equinet.data.formats.options import FormatOptions
from equinet.errors import InputError

OUR_UNITS = {
    "energy": ("eV",),
    "forces": ("eV/Ang", "eV/Angstrom", "eV/A"),
    "stress": ("eV/Ang^3", "eV/Ang**3", "eV/A^3", "eV/Ang/Ang/Ang"),
}
"""What SchNetPack's databases may say of the labels that are looked for without being named."""


def read(path: Path, options: FormatOptions, start: int) -> Iterator[Atoms]:
    """Structures of a SQLite database from row ``start`` on.

    Raises:
        InputError: its metadata name other units than ours.
    """
    with connect(path, serial=True) as database:
        units = (database.metadata or {}).get("_property_unit_dict", {})
        foreign = {name: unit for name, unit in units.items() if unit not in OUR_UNITS.get(name, (unit,))}
        if foreign:
            said = ", ".join(f"{name} in {unit}" for name, unit in sorted(foreign.items()))
            raise InputError(f"{path}: its metadata say {said}; convert to eV and Angstrom first")
        yield from map(_atoms, _rows(database, start))


def read_lmdb(path: Path, options: FormatOptions, start: int) -> Iterator[Atoms]:
    """Structures of an LMDB database from row ``start`` on.

    Raises:
        InputError: the package that reads it is not installed.
    """
    try:
        import ase_db_backends  # noqa: F401
    except ImportError:
        raise InputError(
            f"{path}: reading .aselmdb needs the package ase-db-backends; pip install 'equinet-mlip[lmdb]'"
        ) from None
    with connect(path, type="aselmdb", readonly=True) as database:
        for number in database.ids[start:]:
            yield _atoms(database._get_row(number))  # select() would parse the rows before


def _rows(database: Any, start: int) -> Iterator[Any]:
    if not start:
        return iter(database.select())
    return iter(database.select(limit=max(database.count() - start, 1), offset=start))  # no OFFSET without LIMIT


def _atoms(row: Any) -> Atoms:
    """A row; what its ``data`` and key-value pairs hold joins info."""
    atoms: Atoms = row.toatoms()
    atoms.info.update(row.key_value_pairs)
    atoms.info.update({name: value for name, value in row.data.items() if value is not None})
    return atoms
