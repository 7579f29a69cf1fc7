"""A universal potential fine-tuned on a few structures of one element, against training from scratch, and what it
forgets.

    python benchmarks/training/finetune.py 7net-0.safetensors ../shared/data --budget 300

Trained on 20, 100 and 190 structures of mlearn's molybdenum, every method for the same processor time; tested on the 30
structures of the same calculations that the NbMoTaW set keeps for tests (none nearer than 0.09 Angstrom, rms, to one
that is trained on), and on what the potential knew: MPtrj, which it was trained on (structures that are not replayed
here), Alexandria, and crystals at high temperature and pressure, before and after. The methods:

    scratch   configs/mlearn.yaml
    fast      all weights of the potential, half the learning rate of training from scratch
    naive     all weights, a tenth of it
    lora      low-rank updates of the linear maps; embedding and radial parts frozen
    kept      the same, beside as many structures of MPtrj, others in each epoch; Huber losses, since a few of those
              have forces of tens of eV/Angstrom
    replay    as kept, but all weights are trained

Learning rates and losses were chosen on frames of mlearn's training file that are neither trained nor tested on.
A cell that is in the file of results is not run again: call it as often as it takes.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np

from benchmarks.rows import markdown_table
from equinet.data import Record, read_records
from equinet.models import Potential, load_model
from equinet.training.evaluation import evaluate

ROOT = Path(__file__).resolve().parents[2]
VALIDATION = 4  # structures that are never trained on: they choose the epoch
LARGEST = 60  # atoms
MPTRJ = "universal_mattersim_bench/mptrj_random_1k.extxyz"
REPLAYED = 700  # of its 1000 structures; the others are tested on
OTHERS = {
    "Alexandria": "universal_mattersim_bench/alexandria_random_1k.extxyz",
    "MPF-TP": "universal_mattersim_bench/mpf_TP.extxyz",
}
FINE = [
    *("--model.finetune.parent", "{parent}", "--model.ema_decay", "0.99"),
    *("--model.loss.energy", "4", "--model.loss.forces", "4", "--model.loss.stress", "1"),
    *("--model.loss.second_stage", '{{"start": 0.7, "energy": 16, "forces": 4, "stress": 1}}'),
]
REPLAY = [
    *("--data.replay.path", "{replayed}", "--data.replay.ratio", "1"),
    *(part for term in ("energy", "force", "stress") for part in (f"--model.loss.{term}_form", "huber")),
]
LORA = ["--model.finetune.lora_rank", "8", "--model.finetune.freeze", "[embedding,basis,radial]"]
METHODS = {
    "scratch": ["--config", str(ROOT / "configs" / "mlearn.yaml"), "--trainer.max_time", "null"],
    "fast": [*FINE, "--model.optimizer.lr", "0.01"],
    "naive": [*FINE, "--model.optimizer.lr", "0.002"],
    "lora": [*FINE, *LORA, "--model.optimizer.lr", "0.003"],
    "kept": [*FINE, *LORA, *REPLAY, "--model.optimizer.lr", "0.003"],
    "replay": [*FINE, *REPLAY, "--model.optimizer.lr", "0.001"],
}
COLUMNS = {
    "method": "",
    "structures": "d",
    "epochs": "d",
    "seconds": ".0f",  # of the processor, start and fit of E0 included
    "Mo energy": ".1f",
    "Mo force": ".0f",
    "MPtrj energy": ".1f",
    "MPtrj force": ".0f",
    "Alexandria energy": ".0f",
    "Alexandria force": ".0f",
    "MPF-TP energy": ".0f",
    "MPF-TP force": ".0f",
}
STYLES = {
    "scratch": ("#777777", "s"),
    "fast": ("#c44e52", "v"),
    "naive": ("#dd8452", "o"),
    "lora": ("#55a868", "^"),
    "kept": ("#1f5fa8", "D"),
    "replay": ("#8172b3", "x"),
}


def draw(records: list[Record], count: int, known: set[int]) -> list[Record]:
    """A sample, always the same, of records of elements the parent knows; none is so large that it takes a minute."""
    fitting = [r for r in records if set(r.numbers.tolist()) <= known and len(r.numbers) <= LARGEST]
    chosen = np.random.default_rng(0).permutation(len(fitting))[:count]
    return [fitting[i] for i in sorted(chosen.tolist())]


def _processor_time() -> float:
    """Of all processes that were started and have ended, s: other work on the machine hardly changes it."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Bench:
    """The cells that are to be measured, and the file that keeps those that are."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.work: Path = arguments.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.path: Path = arguments.json
        self.rows: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        known = set(load_model(arguments.parent).species)
        data: Path = arguments.data
        self.tests = {"Mo": [r for r in read_records(data / "nbmotaw_snap/test.extxyz") if set(r.numbers) == {42}]}
        mptrj = ase.io.read(data / MPTRJ, ":")
        order = np.random.default_rng(0).permutation(len(mptrj)).tolist()
        self.replayed, unseen = self.work / "MPtrj_replayed.extxyz", self.work / "MPtrj_unseen.extxyz"
        ase.io.write(self.replayed, [mptrj[i] for i in sorted(order[:REPLAYED])])
        ase.io.write(unseen, [mptrj[i] for i in sorted(order[REPLAYED:])])
        for name, file in {"MPtrj": unseen, **{name: data / file for name, file in OTHERS.items()}}.items():
            self.tests[name] = draw(list(read_records(file)), arguments.sample, known)
        frames = ase.io.read(data / "mlearn_Mo/train.extxyz", ":")
        order = np.random.default_rng(arguments.seed).permutation(len(frames)).tolist()
        if max(arguments.sizes) > len(frames) - VALIDATION:
            sys.exit(f"{VALIDATION} of the {len(frames)} structures are for validation; give lower --sizes")
        parts = {"val": order[-VALIDATION:]} | {str(n): order[:n] for n in arguments.sizes}
        for name, chosen in parts.items():
            ase.io.write(self.work / f"Mo_{name}.extxyz", [frames[i] for i in sorted(chosen)])

    def keep(self, key: str, value: Any) -> None:
        """Write a result down at once."""
        self.rows[key] = value
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.rows, indent=1) + "\n")
        partial.replace(self.path)

    def errors(self, potential: dict[str, Potential]) -> dict[str, float]:
        """Mean absolute errors, meV/atom and meV/Angstrom, on each test that there is a potential for."""
        found = {}
        for name, records in self.tests.items():
            if name in potential:
                errors = evaluate(potential[name], records).errors
                found[f"{name} energy"] = errors["energy_mae_mev_per_atom"]
                found[f"{name} force"] = errors["force_mae_mev_per_angstrom"]
        return found

    def train(self, method: str, size: int, epochs: int, run: Path) -> float:
        """Train in a process of its own; the processor time that it took, s."""
        arguments = self.arguments
        names = {"parent": arguments.parent, "replayed": self.replayed}
        command = [sys.executable, "-m", "equinet.cli", "train", *(o.format(**names) for o in METHODS[method])]
        files = {"train": self.work / f"Mo_{size}.extxyz", "val": self.work / "Mo_val.extxyz"}
        command += [option for name, file in files.items() for option in (f"--data.{name}_path", str(file))]
        command += ["--run_dir", str(run), "--trainer.max_epochs", str(epochs), "--seed", str(arguments.seed)]
        command += ["--data.batch_size", str(arguments.batch_size), "--trainer.enable_progress_bar", "false"]
        log, before = run.with_suffix(".log"), _processor_time()
        with log.open("w") as file:
            if subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode:
                sys.exit(f"{method}, {size} structures: " + log.read_text().strip().splitlines()[-1])
        return _processor_time() - before

    def epochs(self, method: str, size: int) -> int:
        """As many as the budget allows, from the processor time that two more take for the smallest size."""
        key = f"seconds per structure and epoch of {method}"
        if key not in self.rows:
            smallest = min(self.arguments.sizes)
            one, three = (self.train(method, smallest, n, self._fresh(f"probe_{method}")) for n in (1, 3))
            self.keep(key, (three - one) / (2 * smallest))
        return int(np.clip(self.arguments.budget / (self.rows[key] * size), 2, self.arguments.max_epochs))

    def _fresh(self, name: str) -> Path:
        """A run directory that is not there yet: one left behind by a kill stays beside it."""
        number = 0
        while (self.work / f"{name}_{number}").exists():
            number += 1
        return self.work / f"{name}_{number}"

    def cell(self, method: str, size: int) -> None:
        """Train and test, unless that is done."""
        key = f"{method}, {size}"
        if key in self.rows:
            return
        epochs = self.epochs(method, size)
        run = self._fresh(f"{method}_{size}")
        seconds = self.train(method, size, epochs, run)
        tests = ["Mo"] if method == "scratch" else list(self.tests)
        potentials = dict.fromkeys(tests, load_model(run / "model.safetensors"))
        row = {"method": method, "structures": size, "epochs": epochs, "seconds": seconds}
        self.keep(key, row | self.errors(potentials))
        print(markdown_table([self.rows[key]], COLUMNS).splitlines()[-1], flush=True)

    def parent(self) -> None:
        """The errors before, unless they are there."""
        if "parent" not in self.rows:
            parent = load_model(self.arguments.parent)
            self.keep("parent", {"method": "parent"} | self.errors(dict.fromkeys(self.tests, parent)))

    def table(self) -> list[dict[str, Any]]:
        """Rows that are there, in order."""
        keys = ["parent", *(f"{method}, {size}" for method in METHODS for size in self.arguments.sizes)]
        return [self.rows[key] for key in keys if key in self.rows]


def figure(rows: list[dict[str, Any]], title: str, path: Path) -> None:
    """Errors of forces and energies over the number of structures, a panel for each test."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    plain = FuncFormatter(lambda value, _: f"{value:,g}")
    parent, *trained = rows
    sheet = Figure(figsize=(13, 6.4), layout="constrained")
    sheet.suptitle(title, fontsize=10)
    units = {"force": "forces, meV/Å", "energy": "energy, meV/atom"}
    for line, (label, unit) in zip(sheet.subplots(2, 4, sharex=True), units.items(), strict=True):
        for axes, test in zip(line, ("Mo", "MPtrj", *OTHERS), strict=True):
            key = f"{test} {label}"
            axes.axhline(parent[key], color="black", linestyle="--", linewidth=1, label="parent")
            for method, (color, marker) in STYLES.items():
                own = [row for row in trained if row["method"] == method and key in row]
                if own:
                    sizes, values = [row["structures"] for row in own], [row[key] for row in own]
                    axes.plot(sizes, values, color=color, marker=marker, markersize=5, linewidth=1.2, label=method)
            axes.set(xscale="log", yscale="log", title=f"{test}: {unit}")
            axes.title.set_fontsize(9)
            sizes = sorted({row["structures"] for row in trained})
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.xaxis.set_minor_locator(NullLocator())
            low, high = axes.get_ylim()
            axes.yaxis.set_major_formatter(plain)
            axes.yaxis.set_minor_formatter(plain if high < 10 * low else NullFormatter())
            axes.tick_params(labelsize=8, which="both")
            axes.grid(alpha=0.3, which="both")
    sheet.axes[0].legend(frameon=False, fontsize=8)
    sheet.supxlabel("structures of molybdenum trained on", fontsize=9)
    sheet.savefig(path, dpi=140)


def main() -> int:
    """Measure what is missing; print the table, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parent", type=Path, help="model file: equinet import sevennet 7net-0 -o 7net-0.safetensors")
    parser.add_argument("data", type=Path, help="folder with mlearn_Mo, nbmotaw_snap and universal_mattersim_bench")
    parser.add_argument("--budget", type=float, default=300, metavar="S", help="processor seconds of each cell")
    parser.add_argument("--max-epochs", type=int, default=200, help="of the cells with few structures")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 100, 190], metavar="N")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--sample", type=int, default=100, help="structures of each other chemistry")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and the choice of structures")
    parser.add_argument("--work", type=Path, default=Path("runs/bench_finetune"), help="folder of the runs")
    parser.add_argument("--json", type=Path, default=Path("runs/bench_finetune.json"), help="results, kept")
    parser.add_argument("--figure", type=Path, default=Path("finetune.png"))
    arguments = parser.parse_args()
    bench = Bench(arguments)
    bench.parent()
    for size in arguments.sizes:
        for method in arguments.methods:
            bench.cell(method, size)
    rows = bench.table()
    print("mean absolute errors: energy in meV/atom, force components in meV/Angstrom")
    print(markdown_table(rows, COLUMNS))
    title = f"{arguments.parent.stem} on molybdenum: {arguments.budget:.0f} processor seconds for each point"
    figure(rows, title, arguments.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
