"""What every test needs: one thread, fixed seeds, and the reference data where they are at hand."""

import os
import random
import subprocess
import sys
import tempfile
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


_OWN_PROCESS = "EQUINET_TEST_HAS_ITS_PROCESS"


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test marked ``own_process`` runs in a new process, where what is freed goes back to the system at once.

    GNU's allocator keeps more and more of what the tests before freed, in pieces: the same work then takes up to a
    third more or less from one time to the next, and a test of measured memory would test the allocator.
    """
    if pyfuncitem.get_closest_marker("own_process") is None or _OWN_PROCESS in os.environ:
        return None
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "own_process", pyfuncitem.nodeid]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    alone |= {_OWN_PROCESS: "1", "MALLOC_MMAP_THRESHOLD_": str(64 * 1024), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=pyfuncitem.config.rootpath, env=alone, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return True


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
