"""Whether data keep up with training: structures a second from a store through the loader, and through training steps.

    python benchmarks/data/loader.py --folder /tmp

A synthetic store (20 to 40 atoms of four elements, cutoff 5 Angstrom) is read by ``AtomicDataModule`` with a budget of
edges. The loader alone builds its graphs and batches in worker processes, training steps alone take the same batches
again and again, and a run of ``equinet train`` does both and says what share of its time it waited for batches.
"""

import argparse
import contextlib
import io
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.data.store import CUTOFF, make_systems
from benchmarks.rows import markdown_table, versions, write_rows
from equinet.bench.side import processor_name
from equinet.cli.main import main as equinet
from equinet.data import build_store
from equinet.models import NequIPArchitecture
from equinet.training.batch import Batch
from equinet.training.datamodule import AtomicDataModule
from equinet.training.module import PotentialModule
from equinet.training.optimization import OptimizerSettings, build_optimizer
from equinet.training.run_directory import read_metrics

NETWORKS: dict[str, dict[str, Any]] = {
    "small (16 channels, 3 layers, l_max 2)": {"channels": 16, "layers": 3, "l_max": 2, "parity": "natural"},
    "as SevenNet-0 (128, 64, 32 channels, 5 layers)": {
        "channels": [128, 64, 32],
        "layers": 5,
        "l_max": 2,
        "parity": "none",
        "species_self_connection": False,
    },
}
COLUMNS = {
    "network": "",
    "loader_1_worker": ".0f",
    "loader_2_workers": ".0f",
    "training": ".1f",
    "ratio_1_worker": ".1f",
    "waiting_share": ".3f",
}


def loader_rate(data: AtomicDataModule, workers: int, seconds: float) -> tuple[float, list[Batch]]:
    """Structures a second that worker processes deliver when nothing else is done; and some of the batches."""
    data.num_workers = workers
    batches = iter(data.train_dataloader())
    kept = [next(batches) for _ in range(2 * workers + 2)]  # the processes have started
    start, structures = time.perf_counter(), 0
    for batch in batches:
        structures += len(batch.sources)
        if time.perf_counter() - start > seconds:
            break
    return structures / (time.perf_counter() - start), kept


def training_rate(data: AtomicDataModule, network: dict[str, Any], batches: list[Batch], seconds: float) -> float:
    """Structures a second that training steps take when their batches are there."""
    architecture = NequIPArchitecture(cutoff=CUTOFF, **network)
    module = PotentialModule(data.statistics, architecture=architecture).train()
    weights = [weight for weight in module.potential.parameters() if weight.requires_grad]
    optimizer = build_optimizer(weights, OptimizerSettings(lr=1e-4))
    structures, start = 0, 0.0
    for number in range(10_000):
        if number == 1:
            structures, start = 0, time.perf_counter()
        batch = batches[number % len(batches)]
        optimizer.zero_grad(set_to_none=True)
        module.terms(batch, module.loss.settings.final_weights).sum().backward()
        optimizer.step()
        structures += len(batch.sources)
        if number > 1 and time.perf_counter() - start > seconds:
            break
    return structures / (time.perf_counter() - start)


def waiting_share(store: Path, folder: Path, network: dict[str, Any], edges: int, steps: int) -> float:
    """Share of the time of a run with one worker that went by waiting for batches."""
    options = [f"--model.architecture.{name}={value}" for name, value in network.items()]
    command = ["train", f"--data.train_path={store}", f"--data.max_edges={edges}", "--data.num_workers=1"]
    command += [f"--model.architecture.cutoff={CUTOFF}", f"--trainer.max_steps={steps}", f"--run_dir={folder}/run"]
    with contextlib.redirect_stdout(io.StringIO()):
        status = equinet([*command, *options, "--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false"])
    if status:
        raise SystemExit("equinet train failed")
    (row, *_) = read_metrics(folder / "run" / "metrics.csv")
    shutil.rmtree(folder / "run")
    return row["data_wait_share"]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--structures", type=int, default=20_000)
    parser.add_argument("--edges", type=int, default=20_000, help="in one batch")
    parser.add_argument("--seconds", type=float, default=20.0, help="each measurement")
    parser.add_argument("--steps", type=int, default=40, help="of the run that does both")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        store = folder / "STORE"
        build_store(make_systems(folder / "systems", arguments.structures), store)
        data = AtomicDataModule(train_path=str(store), max_edges=arguments.edges, cutoff=CUTOFF)
        rates = {}
        for workers in (1, 2):
            rates[workers], batches = loader_rate(data, workers, arguments.seconds)
        for title, network in NETWORKS.items():
            training = training_rate(data, network, batches, arguments.seconds)
            share = waiting_share(store, folder, network, arguments.edges, arguments.steps)
            rows.append(
                {
                    "network": title,
                    "loader_1_worker": rates[1],
                    "loader_2_workers": rates[2],
                    "training": training,
                    "ratio_1_worker": rates[1] / training,
                    "waiting_share": share,
                }
            )
    sys.stdout.write(f"{processor_name()}, {torch.get_num_threads()} threads; {versions('torch', 'pyarrow')}\n")
    sys.stdout.write("Rates in structures a second.\n" + markdown_table(rows, COLUMNS) + "\n")
    if arguments.json:
        write_rows(arguments.json, rows)


if __name__ == "__main__":
    main()
