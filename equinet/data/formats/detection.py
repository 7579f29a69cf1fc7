"""Which format a file or folder is in, and who reads it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ase import Atoms
from ase.io import iread
from ase.io.formats import UnknownFileTypeError, filetype, open_with_compression

from equinet.data.formats import database, deepmd, extxyz, mtp, n2p2, torchsim_hdf5
from equinet.data.formats.options import FormatOptions

Reader = Callable[[Path, FormatOptions, int], Iterator[Atoms]]


@dataclass(frozen=True)
class Format:
    """A format, and the function that gives a file's structures from frame ``start`` on."""

    name: str
    read: Reader
    units: str = "eV, Angstrom"  # of the labels in the file
    units_of_keys: Callable[[Path], Mapping[str, str]] = lambda path: {}  # as a file itself says them


def detect_format(path: Path, options: FormatOptions) -> Format:
    """Find the format by name, and by the first line where several share a name.

    Args:
        path: an existing file, or a folder of DeePMD-kit.
        options: what the user said of files of this kind.
    """
    if path.is_dir():
        return Format("DeePMD-kit npy", deepmd.read, "eV, Angstrom; virial in eV")
    if {".xyz", ".extxyz"} & set(path.suffixes):
        return Format("extended XYZ", extxyz.read)
    if path.suffix == ".db":
        return Format("ASE database", database.read, units_of_keys=database.units_of_keys)
    if path.suffix == ".aselmdb":
        return Format("ASE database in LMDB", database.read_lmdb)
    if path.suffix in torchsim_hdf5.SUFFIXES:
        return Format("torch-sim HDF5", torchsim_hdf5.read)
    first = _first_line(path)
    if first == "BEGIN_CFG":
        return Format("MTP cfg", mtp.read, "eV, Angstrom; PlusStress = -volume * stress in eV")
    if first == "begin":
        return Format("n2p2", n2p2.read, n2p2.UNITS[options.n2p2_units].text)
    return Format(_name_by_ase(path), _read_by_ase)


def _first_line(path: Path) -> str:
    """The first line that is neither blank nor a comment; "" where there is none, as in binary files."""
    try:
        with open_with_compression(str(path), "rb") as file:
            head = file.read(4096)
    except (OSError, EOFError):
        return ""
    lines = (line.strip().decode("utf-8", errors="replace") for line in head.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


def _name_by_ase(path: Path) -> str:
    try:
        return f"{filetype(str(path))} by ASE"
    except (UnknownFileTypeError, OSError, EOFError):
        return "by ASE"  # reading it will say what is wrong


def _read_by_ase(path: Path, options: FormatOptions, start: int) -> Iterator[Atoms]:
    return islice(iread(path, index=":", do_not_split_by_at_sign=True), start, None)
