"""Compiles libequinet_ops.so: equinet's operators for programs that run models without Python (C++, LAMMPS).

    python kernels/ops_build.py [--output DIR] [--torch DIR]

It is built for one minor version of torch: that of the running interpreter, or a libtorch distribution given by
``--torch``. The output folder, by default kernels/equinet_kernels/lib, then holds it beside the libraries that it
opens, the CPU ones and, where ``cuda_build.py`` has made it, the CUDA one: copy it as a whole. CXX names the compiler.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import native_build
from native_build import BuildError, find_compiler

SOURCES = native_build.HERE / "csrc" / "torch"
C_INTERFACES = [native_build.SOURCES / "api.h", native_build.HERE / "csrc" / "cuda" / "api.h"]
SCHEMAS = native_build.HERE / "equinet_kernels" / "schemas.txt"
NAME = "libequinet_ops.so"
CUDA_NAME = "libequinet_cuda.so"

# torch's own language and layout of std::string; and not all of its 2,000 operators' headers.
FLAGS = ["-std=c++20", "-D_GLIBCXX_USE_CXX11_ABI=1", "-DAT_PER_OPERATOR_HEADERS"]
FLAGS += ["-O2", "-fPIC", "-fvisibility=hidden", "-Wall"]
# No path to torch is written into the library: the program that opens it has loaded torch already. It is never
# unloaded: what it registered, and gradients that wait to be taken, would point at nothing.
LINK_FLAGS = ["-shared", "-pthread", "-Wl,-z,defs", "-Wl,-z,nodelete", f"-Wl,-soname,{NAME}"]


def torch_of_this_interpreter() -> Path:
    """The folder with torch's include and lib.

    Raises:
        BuildError: there is no torch.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise BuildError("this Python has no torch; name a libtorch: --torch DIR")
    return Path(spec.origin).parent


def compile_flags(torch: Path) -> list[str]:
    """What a source file that includes torch's headers is compiled with.

    Raises:
        BuildError: the folder holds no headers of torch.
    """
    include = torch / "include"
    if not (include / "torch" / "library.h").is_file():
        raise BuildError(
            f"{torch} has no include/torch/library.h; name the folder of a libtorch, or of an installed torch"
        )
    folders = [include, include / "torch" / "csrc" / "api" / "include"]
    return [*FLAGS, *(part for folder in folders for part in ("-isystem", str(folder)))]


def link_flags(torch: Path) -> list[str]:
    """What a library or program that calls torch is linked with."""
    return [f"-L{torch / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]


def stamp(torch: Path) -> str:
    """Changes with everything that the library depends on."""
    content = hashlib.sha256(repr((find_compiler(), compile_flags(torch), LINK_FLAGS)).encode())
    version = torch / "include" / "torch" / "headeronly" / "version.h"
    for path in [*sorted(SOURCES.iterdir()), *C_INTERFACES, SCHEMAS, version]:
        content.update(path.name.encode() + path.read_bytes())
    return content.hexdigest()


def build(folder: Path, torch: Path) -> Path:
    """Compile the library into a folder.

    Args:
        folder: where it goes.
        torch: folder with torch's include and lib.

    Returns:
        The library's path.

    Raises:
        BuildError: no compiler, no torch, a folder that cannot be made, or an error of the compiler. What was there
            stays.
    """
    compiler, flags, library = find_compiler(), compile_flags(torch), folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(f"cannot make the folder {folder}: {error.strerror}; name another") from None
    with tempfile.TemporaryDirectory(dir=folder) as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        # a literal, so that the text stays the only copy and need not travel with the library
        Path(scratch, "schemas.h").write_text(f'const char kSchemas[] = R"schemas({SCHEMAS.read_text()})schemas";\n')
        sources = sorted(SOURCES.glob("*.cpp"))
        objects = [str(Path(scratch, f"{source.stem}.o")) for source in sources]
        commands = [
            [compiler, *flags, f"-I{scratch}", "-c", str(source), "-o", target]
            for source, target in zip(sources, objects, strict=True)
        ]
        list(pool.map(run, commands))
        linked = Path(scratch, NAME)
        run([compiler, *LINK_FLAGS, "-o", str(linked), *objects, *link_flags(torch), "-ldl"])
        os.replace(linked, library)
    return library


def run(command: list[str]) -> None:
    """Run a compiler.

    Raises:
        BuildError: with what it says.
    """
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{command[0]} does not run: {error}") from error
    if result.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{result.stderr[-4000:]}")


def main(arguments: list[str]) -> None:
    """Build what a program without Python needs, into one folder."""
    parser = argparse.ArgumentParser(prog="ops_build.py", description="Compile libequinet_ops.so and what it opens.")
    parser.add_argument("--output", type=Path, default=native_build.TARGET, help="folder for the libraries")
    parser.add_argument("--torch", type=Path, help="folder of a libtorch; default: the torch of this interpreter")
    options = parser.parse_args(arguments)
    try:
        print(build(options.output, options.torch or torch_of_this_interpreter()))
        cpu_libraries = native_build.build()
    except BuildError as error:
        sys.exit(f"error: {error}")
    for path in [*cpu_libraries, native_build.TARGET / CUDA_NAME]:
        if path.is_file() and options.output.resolve() != path.parent.resolve():
            print(shutil.copy2(path, options.output))


if __name__ == "__main__":
    main(sys.argv[1:])
