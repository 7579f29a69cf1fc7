"""Generated modules on disk: where they go, what breaks them, and many processes at once."""

import errno
import os
from pathlib import Path

import pytest
import torch

from equinet_kernels import ConvSpec
from equinet_kernels.conv.triton import cache, source
from equinet_kernels.conv.triton.plan import Level
from tests.kernels.fresh_process import run_python

SPEC = ConvSpec.parse("uvu;x=2x0e;l_max=0;paths=0.0.0e")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EQUINET_CACHE", str(tmp_path))
    return tmp_path / "kernels"


def blocked(tmp_path: Path) -> Path:
    """Where not even root can make a folder: below a file."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "cache"


# Where


def test_the_variable_names_the_folder(folder):
    assert cache.cache_location() == (folder, "EQUINET_CACHE")
    assert folder.is_dir()


def test_otherwise_it_is_among_the_users_caches(tmp_path, monkeypatch):
    monkeypatch.delenv("EQUINET_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.cache_location() == (tmp_path / ".cache" / "equinet" / "kernels", "home folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_location() == (tmp_path / "xdg" / "equinet" / "kernels", "XDG_CACHE_HOME")


@pytest.mark.parametrize("variable", ["EQUINET_CACHE", "XDG_CACHE_HOME", "HOME"])
def test_a_place_that_cannot_be_written(tmp_path, monkeypatch, variable):
    for name in ("EQUINET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(blocked(tmp_path)))
    location = cache.cache_location()
    assert location.folder.stat().st_mode & 0o777 == 0o700
    assert location.reason.startswith(f"{blocked(tmp_path)}")
    assert "cannot be written: [Errno 20] Not a directory" in location.reason
    assert cache.load_module("somewhere_else", lambda: "VALUE = 1\n").VALUE == 1
    assert (location.folder / "somewhere_else.py").is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write anywhere")
def test_a_read_only_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EQUINET_CACHE", str(tmp_path / "locked"))
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "Permission denied" in cache.cache_location().reason


def test_a_filled_folder_is_used_without_being_written(folder, monkeypatch):
    """As in a container whose image was made with the kernels in it."""
    cache.load_module("filled", lambda: "VALUE = 1\n")
    monkeypatch.setattr(cache, "_write", never)
    module = cache.load_module("filled", never)
    assert module.VALUE == 1
    assert module.__file__ == str(folder / "filled.py")


def never(*arguments: object) -> str:
    raise AssertionError("there is nothing to write")


def test_a_disk_that_fills_up(folder, monkeypatch):
    replace = os.replace

    def full(draft: str, file: Path) -> None:
        if folder in Path(file).parents:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(draft, file)

    monkeypatch.setattr(os, "replace", full)
    assert cache.load_module("too_much", lambda: "VALUE = 1\n").VALUE == 1
    assert list(folder.iterdir()) == []


PRIVATE = """
import os
from equinet_kernels.conv.triton import cache
parent = cache.cache_location().folder
if os.fork() == 0:
    print(cache.cache_location().folder)
    raise SystemExit
os.wait()
assert parent.is_dir()
print(parent)
"""


def test_private_folders_vanish_with_their_processes(tmp_path):
    folders = run_python(PRIVATE, EQUINET_CACHE=str(blocked(tmp_path))).split()
    assert len(set(folders)) == 2
    assert not any(Path(folder).exists() for folder in folders)


# What


def test_a_file_is_written_once(folder):
    first = cache.load_module("once", lambda: "VALUE = 1\n")
    assert cache.load_module("once", never).VALUE == 1
    assert first.__file__ == str(folder / "once.py")
    assert [file.name for file in folder.iterdir()] == ["once.py"], "no drafts, no bytecode"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: text[: len(text) // 2],
        lambda text: text[:-1],
        lambda text: text.replace(b"1", b"2"),
        lambda text: text + b"VALUE = 2\n",
        lambda text: b"\xff\xfe" + text,
        lambda text: b"\0" * len(text),
    ],
    ids=["empty", "half", "without its end", "changed", "longer", "not text", "zeros"],
)
def test_damaged_files_are_noticed_and_written_again(folder, damage):
    cache.load_module("damaged", lambda: "VALUE = 1\n")
    file = folder / "damaged.py"
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert file.read_bytes() != whole
    assert cache.load_module("damaged", lambda: "VALUE = 1\n").VALUE == 1
    assert file.read_bytes() == whole


def test_names_depend_on_all_that_the_text_depends_on(folder, monkeypatch):
    pytest.importorskip("triton", reason="Triton is not installed")

    def name(spec: ConvSpec = SPEC, level: Level = Level.FORWARD, dtype: torch.dtype = torch.float32) -> str:
        cache._kernel_module.cache_clear()
        return str(cache.kernel_module(spec, level, dtype).__name__)

    other = ConvSpec.parse("uvu;x=3x0e;l_max=0;paths=0.0.0e")
    names = [name(), name(spec=other), name(level=Level.BACKWARD), name(dtype=torch.float64)]
    monkeypatch.setattr("triton.__version__", "0.0")
    names.append(name())
    monkeypatch.setattr(cache, "generator_version", lambda: "other")
    names.append(name())
    assert len(set(names)) == len(names)
    cache._kernel_module.cache_clear()


@pytest.mark.parametrize("changed", [cache.basis, cache.specification, cache.plan, cache.lines, cache.group, source])
def test_the_generators_own_source_is_part_of_the_name(monkeypatch, changed):
    before = cache.generator_version.__wrapped__()
    assert before == cache.generator_version()
    read = cache.inspect.getsource
    monkeypatch.setattr(cache.inspect, "getsource", lambda module: read(module) + "#" * (module is changed))
    assert cache.generator_version.__wrapped__() != before


MANY = """
import os, time, torch
from equinet_kernels import ConvSpec
from equinet_kernels.conv.triton.cache import kernel_module
from equinet_kernels.conv.triton.plan import Level
import triton  # before the processes part, so that they do nothing but this together

start = time.monotonic() + 0.5
children = []
for _ in range(8):
    children.append(os.fork())
    if children[-1] == 0:
        time.sleep(max(0.0, start - time.monotonic()))
        for channels in range(1, 5):
            spec = ConvSpec.parse(f"uvu;x={channels}x0e;l_max=2;paths=0.0.0e,0.1.1o,0.2.2e")
            for level in Level:
                kernel = getattr(kernel_module(spec, level, torch.float32), f"uvu_{level.value}")
                assert "tl.program_id" in kernel.src, "Triton has read the source from the file"
        os._exit(0)
print(*[os.waitpid(child, 0)[1] for child in children])
"""


def test_many_processes_at_once(folder):
    """They start together on an empty folder."""
    pytest.importorskip("triton", reason="Triton is not installed")
    assert run_python(MANY).split() == ["0"] * 8
    files = list(folder.iterdir())
    assert len(files) == 4 * len(Level)
    assert all(cache._read(file) is not None for file in files)


# Without Triton

WITHOUT_TRITON = """
import importlib, pkgutil, sys
import torch
import equinet_kernels
from equinet_kernels.conv.triton import cache, launch, plan
assert "triton" not in sys.modules
sys.modules["triton"] = None  # as if it were not installed
for info in pkgutil.walk_packages(equinet_kernels.__path__, "equinet_kernels."):
    if not info.name.endswith(("kernels.launch", ".triton")) or info.ispkg:  # kernels by hand: imported where a GPU is
        importlib.import_module(info.name)
spec = equinet_kernels.ConvSpec.parse("uvu;x=2x0e;l_max=0;paths=0.0.0e")
try:
    cache.kernel_module(spec, plan.Level.FORWARD, torch.float32)
except ModuleNotFoundError as error:
    print(error.name)
"""


def test_nothing_needs_triton_until_a_kernel_runs(tmp_path):
    assert run_python(WITHOUT_TRITON, EQUINET_CACHE=str(tmp_path)).strip() == "triton"
