"""Where a model comes from: data, configuration, versions. Kept in the run directory and in the model file."""

import json
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

import equinet
from equinet.data import StressCheck
from equinet.files import replacing
from equinet.training.records import RunRecords
from equinet.training.run_directory import RunDirectory


def versions() -> dict[str, str]:
    """Versions of this package, its commit where it runs from a checkout, and of what the numbers depend on."""
    found = {"equinet": equinet.__version__, "python": platform.python_version(), "torch": torch.__version__}
    for package in ("lightning", "numpy", "ase", "vesin"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    revision = commit()
    return found | {"commit": revision} if revision else found


def environment() -> dict[str, Any]:
    """The machine and every installed package, which may matter when a result is to be repeated."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    installed = {f"{found.metadata['Name']}=={found.version}" for found in metadata.distributions()}
    return {
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "command": shlex.join(sys.argv),
        "packages": sorted(installed, key=str.lower),
    }


def commit() -> str | None:
    """The git commit of the source tree, "+" appended where files were changed; None outside a checkout."""
    root = Path(equinet.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        revision = _git(root, "rev-parse", "HEAD")
        return revision + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def collect_provenance(records: RunRecords, configuration: dict[str, Any], check: StressCheck | None) -> dict[str, Any]:
    """What is kept with a model: files and how they were read, statistics, configuration, versions. JSON-able."""
    return {
        "data": {
            name: {"file": str(path), "sha256": records.checksums[name], **records.readings[name].to_dict()}
            for name, path in records.files.items()
        },
        "stress_check": None if check is None else check.line(),
        "statistics": records.statistics.to_dict(),
        "parent": None
        if records.start is None
        else {**records.start.provenance, "reference_shifts": records.start.describe_shifts()},
        "replay": _replay(records),
        "config": configuration,
        "versions": versions(),
    }


def _replay(records: RunRecords) -> dict[str, Any] | None:
    """What was replayed, as ``data`` says it of the new files."""
    if records.replay.path is None:
        return None
    path, replayed = Path(records.replay.path), records.replayed
    counts = {name: sum(getattr(one, name) is not None for one in replayed) for name in ("energy", "forces", "virial")}
    return {
        "file": str(path),
        "sha256": records.checksums["replay"],
        "label": records.replay.label,
        "frames": len(replayed),
        **{f"frames_with_{name}": count for name, count in counts.items()},
    }


def write_provenance(run: RunDirectory, provenance: dict[str, Any], split: dict[str, Any]) -> None:
    """Write the configuration, the provenance and the split into the run directory."""
    with replacing(run.config) as temporary:
        temporary.write_text(yaml.safe_dump(provenance["config"], sort_keys=False))
    with replacing(run.provenance) as temporary:
        temporary.write_text(json.dumps(provenance | {"environment": environment()}, indent=2) + "\n")
    with replacing(run.split) as temporary:
        temporary.write_text(json.dumps(split, indent=0) + "\n")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
