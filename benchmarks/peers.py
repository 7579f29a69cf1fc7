"""Environments of the frameworks we compare with: each in its own, for their pins and ours do not fit into one."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class PeerError(Exception):
    """An environment that cannot be made, or a run in it that failed; the message says what to do."""


@dataclass(frozen=True)
class Peer:
    """A released framework, the torch it runs on if it does, and what else it needs."""

    package: str
    version: str
    torch: str | None = None
    others: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of its environment."""
        return f"{self.package}-{self.version}"


NEQUIP = Peer("nequip", "0.19.1", torch="2.13.0")
SEVENN = Peer("sevenn", "0.13.0", torch="2.13.0")
TBLITE = Peer("tblite", "0.8.0", others=("ase==3.29.0",))
"""Labels molecules with GFN2-xTB."""


def cache_folder() -> Path:
    """Where the environments live: ``equinet/peers`` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "equinet" / "peers"


def peer_python(peer: Peer) -> Path:
    """Return the Python of a peer's environment, which is made where it is missing (a minute or two, 1 GB with torch).

    It is made under another name and renamed when it is whole, so an interrupted installation leaves nothing that looks
    like one. Call it as ``python -m``: after the renaming the scripts beside it name a folder that is gone.

    Raises:
        PeerError: pip failed; with the end of what it said.
    """
    folder = cache_folder() / peer.name
    if not folder.exists():
        with _locked(folder.with_name(f"{peer.name}.lock")):
            if not folder.exists():  # nobody else made it while this process waited
                _make(peer, folder)
    return folder / "bin" / "python"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system releases with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(peer: Peer, folder: Path) -> None:
    """Install the peer into a new environment."""
    partial = folder.with_name(f"{peer.name}.partial")
    log = folder.with_name(f"{peer.name}.log")
    print(f"peers: installing {peer.package} {peer.version} into {folder} ({log} has the details)", file=sys.stderr)
    shutil.rmtree(partial, ignore_errors=True)  # what an interrupted run left
    log.write_text("")
    python = partial / "bin" / "python"
    try:
        _call([sys.executable, "-m", "venv", str(partial)], log)
        wanted = [f"{peer.package}=={peer.version}", *peer.others]
        if peer.torch is not None:
            wanted.append(_install_torch(python, peer.torch, log))
        _call([str(python), "-m", "pip", "install", *wanted], log)
        _call([str(python), "-m", "pip", "check"], log)
        _call([str(python), "-c", f"import {peer.package}"], log)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _install_torch(python: Path, version: str, log: Path) -> str:
    """Install torch first, and return the exact requirement: any other would bring gigabytes of CUDA libraries.

    The CPU build comes from the configured package index if that offers it, else from PyTorch's own, as in
    ``scripts/install.sh``.
    """
    pip = [str(python), "-m", "pip", "install"]
    if sys.platform != "linux":  # other systems have no build but this one
        _call([*pip, f"torch=={version}"], log)
        return f"torch=={version}"
    wanted = f"torch=={version}+cpu"
    offered = subprocess.run([*pip, "--dry-run", "--no-deps", wanted], capture_output=True, check=False)
    if offered.returncode:
        _call([*pip, "--no-deps", "--index-url", "https://download.pytorch.org/whl/cpu", wanted], log)
    _call([*pip, wanted], log)
    return wanted


def _call(command: list[str], log: Path) -> None:
    """Run a command, its output added to the log.

    Raises:
        PeerError: it failed.
    """
    with log.open("a") as file:
        failed = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    if failed:
        tail = "\n".join(log.read_text().splitlines()[-15:])
        raise PeerError(f"{tail}\n'{' '.join(command)}' failed; the lines above end {log}; put it right and try again")
