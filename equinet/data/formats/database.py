"""Databases of ASE: SQLite (.db), and fairchem's LMDB (.aselmdb) through the package ase-db-backends."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.db import connect

from equinet.data.formats.options import FormatOptions
from equinet.data.label_units import normalized_unit
from equinet.errors import InputError

ANGSTROM = ("", "1", "1.0", "a")


def read(path: Path, options: FormatOptions, start: int) -> Iterator[Atoms]:
    """Structures of a SQLite database from row ``start`` on.

    Raises:
        InputError: its metadata (SchNetPack's) name another unit of length than ours.
    """
    with connect(path, serial=True) as database:
        _refuse_lengths(path, database)
        yield from map(_atoms, _rows(database, start))


def units_of_keys(path: Path) -> dict[str, str]:
    """Unit of each key as the metadata of a SQLite database say it (SchNetPack's do); {} where they do not."""
    try:
        with connect(path, serial=True) as database:
            metadata = database.metadata or {}
    except Exception:  # sqlite3's, ASE's, JSON's: reading the file will say what is wrong
        return {}
    units = metadata.get("_property_unit_dict") or {}
    return {str(name): "" if unit is None else str(unit) for name, unit in units.items()}


def _refuse_lengths(path: Path, database: Any) -> None:
    unit = (database.metadata or {}).get("_distance_unit")
    if normalized_unit("" if unit is None else str(unit)) not in ANGSTROM:
        raise InputError(f"{path}: its metadata say lengths in {unit}; convert the file to Angstrom and eV first")


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
