"""What a process holds of a large model in training, by number of processes, shared out and not.

    python benchmarks/training/sharding.py
    python benchmarks/training/sharding.py --channels 1024 --processes 8

Processes of this machine train a network whose weights are nearly all there is (two atoms of copper, so that features
take next to nothing). ``held_mb`` are weights, gradients, average and the optimiser's moments in one process between
two steps, ``peak_mb`` what these and all else that a step needs rise to (the mark of the resident set, less what it has
of other things between steps); both of the process that has most. Seconds say little where processes share cores.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.rows import markdown_table, write_rows
from equinet.bench.side import MEBIBYTE, processor_name
from equinet.memory import held, peak
from equinet.training.module import PotentialModule
from equinet.training.processes import own_part

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
STATUS = Path("/proc/self/status")
COLUMNS = {"strategy": "", "processes": "d", "weights_mb": ".0f", "held_mb": ".0f", "peak_mb": ".0f", "seconds": ".2f"}
CONFIGURATION = """
data: {{train_path: {data}, val_path: {data}, batch_size: 1}}
model:
  architecture: {{cutoff: 3.0, layers: 3, l_max: 1, channels: {channels}, num_bessel: 8, radial_hidden: [64]}}
trainer: {{accelerator: cpu, max_epochs: 3, enable_progress_bar: false}}
"""


class Measure(Callback):
    """Note what this process holds, its peak of memory and the time of each step; written beside the run."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.reports: list[dict[str, float]] = []
        self._held = self._besides = 0
        self._started = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """See what is held between steps, and besides; set the mark of memory back."""
        weights = list(pl_module.parameters())
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        moments = [value for state in trainer.optimizers[0].state.values() for value in state.values()]
        storages = [own_part(tensor).untyped_storage() for tensor in [*weights, *gradients, *moments]]
        self._held = sum({each.data_ptr(): each.nbytes() for each in storages}.values())  # gradients share some
        self._besides = held(CPU) - self._held
        peak(CPU, lambda: None)
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Read it."""
        seconds = time.perf_counter() - self._started
        mark = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        peaked = 1024 * int(mark.split()[1]) - self._besides
        self.reports.append({"held_mb": self._held / MEBIBYTE, "peak_mb": peaked / MEBIBYTE, "seconds": seconds})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the report of this process, without the steps that make buckets and the optimiser's state."""
        assert isinstance(pl_module, PotentialModule)
        report = {key: statistics.median(each[key] for each in self.reports[2:]) for key in self.reports[0]}
        report["weights_mb"] = sum(w.numel() * w.element_size() for w in pl_module.potential.parameters()) / MEBIBYTE
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(report))


def measure(strategy: str, processes: int, channels: int) -> dict[str, Any]:
    """Train for a few steps in processes of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        atoms = bulk("Cu", cubic=True)[:2]
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        write(folder / "data.extxyz", [atoms] * (3 * processes))
        (folder / "config.yaml").write_text(CONFIGURATION.format(data=folder / "data.extxyz", channels=channels))
        command = [sys.executable, "-m", "equinet.cli", "train", "--config", str(folder / "config.yaml")]
        command += ["--run_dir", str(folder / "run"), "--trainer.devices", str(processes)]
        command += ["--trainer.strategy", strategy, "--trainer.callbacks+", "benchmarks.training.sharding.Measure"]
        command += ["--trainer.callbacks.folder", name]
        # freed memory goes back to the system at once, so that the resident set is what is in use
        environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}", "MALLOC_MMAP_THRESHOLD_": "65536"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{strategy}, {processes} processes: {done.stderr.strip().splitlines()[-1]}")
        reports = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(processes)]
    most = {key: max(report[key] for report in reports) for key in reports[0]}
    return {"strategy": strategy, "processes": processes} | most


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [
        measure(strategy, processes, arguments.channels)
        for processes in arguments.processes
        for strategy in ("auto", "fsdp")
    ]
    print(f"{processor_name()}, torch {torch.__version__}")
    print(markdown_table(rows, COLUMNS))
    if arguments.json:
        write_rows(arguments.json, rows)


if __name__ == "__main__":
    main()
