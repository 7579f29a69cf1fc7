"""What every test needs: one thread, fixed seeds, and the reference data where they are at hand."""

import ctypes
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeds():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (for libraries that draw from the global generator)
    torch.manual_seed(0)


_M_MMAP_THRESHOLD = -3  # of <malloc.h>


@pytest.fixture
def unfragmented() -> Iterator[None]:
    """What is freed goes back to the system at once, so that a process takes what its tensors take.

    GNU's allocator keeps more and more of what tests before freed, in pieces: the same work then takes up to a third
    more or less from one time to the next, and a test of measured memory would test the allocator.
    """
    libc = ctypes.CDLL(None)
    assert libc.mallopt(_M_MMAP_THRESHOLD, 64 * 1024) == 1
    yield
    assert libc.mallopt(_M_MMAP_THRESHOLD, 32 * 1024 * 1024) == 1  # where it ends by itself


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of reference data beside the repository; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("reference data not found: no folder shared/data beside the repository")
    return folder


@pytest.fixture(scope="session")
def sevenn_wheel() -> Path:
    """SevenNet's wheel, which holds its potentials; downloaded once and kept in the user's cache."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "equinet" / "wheels"
    wheel = folder / "sevenn-0.13.0-py3-none-any.whl"
    if not wheel.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as partial:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", partial, "sevenn==0.13.0"]
            if subprocess.run(command, capture_output=True, timeout=120, check=False).returncode:
                pytest.skip("the wheel of sevenn 0.13.0 cannot be downloaded here")
            (Path(partial) / wheel.name).replace(wheel)  # whole or not at all: other processes may do the same
    return wheel
