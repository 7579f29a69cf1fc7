"""Stores of 10^4, 10^5, 10^6 structures: how fast they are built and read, and what memory they take.

    python benchmarks/data/store.py --structures 10000 100000 1000000 --folder /tmp

Structures of 20 to 40 atoms of four elements with energy, forces and virial are written as DeePMD-kit systems, built
into a store with what ``equinet data build`` calls, and read in a process of its own. Prints a Markdown table. The data
are removed at the end (2 GB for a million structures, twice that while the store is built).
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from benchmarks.rows import markdown_table, versions
from equinet.bench.side import processor_name
from equinet.data import Example, Store, build_store, collate_examples, make_example

READS = 20_000
GRAPHS = 8_000
BATCH = 32
CUTOFF = 5.0
SPACING = 2.3  # Angstrom between the places of a cubic lattice that atoms are rattled about
FRAMES_OF_A_SET = 5_000


def make_systems(folder: Path, structures: int) -> list[Path]:
    """DeePMD-kit systems of 20 to 40 atoms, the structures shared out evenly."""
    generator = np.random.default_rng(0)
    sizes = range(20, 41)
    systems = []
    for number, atoms in enumerate(sizes):
        frames = structures // len(sizes) + (number < structures % len(sizes))
        system = folder / f"atoms{atoms}"
        system.mkdir(parents=True)
        (system / "type_map.raw").write_text("Li\nP\nS\nCl\n")
        np.savetxt(system / "type.raw", generator.integers(4, size=atoms), fmt="%d")
        grid = np.argwhere(np.ones((4, 4, 3)))[:atoms] * SPACING
        for first in range(0, frames, FRAMES_OF_A_SET):
            count = min(FRAMES_OF_A_SET, frames - first)
            part = system / f"set.{first // FRAMES_OF_A_SET:03d}"
            part.mkdir()
            np.save(part / "coord.npy", grid.reshape(-1) + 0.2 * generator.normal(size=(count, 3 * atoms)))
            np.save(part / "box.npy", np.tile(np.diag([4, 4, 3]).reshape(-1) * SPACING, (count, 1)))
            np.save(part / "energy.npy", -4.0 * atoms + generator.normal(size=count))
            np.save(part / "force.npy", generator.normal(size=(count, 3 * atoms)))
            virial = generator.normal(size=(count, 3, 3))
            np.save(part / "virial.npy", (virial + virial.transpose(0, 2, 1)).reshape(count, 9))
        systems.append(system)
    return systems


class Batches(Dataset[Example]):
    """Batches of a store, graphs built when asked for, as in training."""

    def __init__(self, store: Store, order: np.ndarray) -> None:
        self.store, self.order = store, order

    def __len__(self) -> int:
        return len(self.order) // BATCH

    def __getitem__(self, batch: int) -> Example:
        chosen = self.order[batch * BATCH : (batch + 1) * BATCH]
        return collate_examples([make_example(self.store[int(index)], CUTOFF) for index in chosen])


def same(value: Example) -> Example:
    """Batches are whole already."""
    return value


def memory() -> dict[str, float]:
    """Anonymous and file-backed memory of this process, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")}


def measure(path: Path) -> dict[str, float]:
    """Reads at random; meant for a process of its own."""
    start = time.perf_counter()
    store = Store(path)
    opened = time.perf_counter() - start
    order = np.random.default_rng(1).integers(len(store), size=READS)
    before = memory()
    start, used = time.perf_counter(), time.process_time()
    for index in order:
        store[int(index)]
    seconds, used = time.perf_counter() - start, time.process_time() - used
    after = memory()
    result = {
        "open_ms": 1e3 * opened,
        "read_us": 1e6 * seconds / READS,
        "read_cpu_us": 1e6 * used / READS,
        **{f"{name}_before": value for name, value in before.items()},
        **{f"{name}_after": value for name, value in after.items()},
    }
    for workers in (1, 2):
        loader = DataLoader(
            Batches(store, order[:GRAPHS]), batch_size=None, num_workers=workers, collate_fn=same, prefetch_factor=2
        )
        batches = iter(loader)
        for _ in range(2 * workers):  # the processes have started
            next(batches)
        start = time.perf_counter()
        count = sum(1 for _ in batches)
        result[f"graphs_{workers}"] = BATCH * count / (time.perf_counter() - start)
    return result


def row(folder: Path, structures: int) -> dict[str, float]:
    """Builds a store, has it measured, removes it."""
    systems = make_systems(folder / "systems", structures)
    start = time.perf_counter()
    build_store(systems, folder / "store")
    seconds = time.perf_counter() - start
    size = sum(file.stat().st_size for file in (folder / "store").glob("*.arrow"))
    shutil.rmtree(folder / "systems")
    command = [sys.executable, __file__, "--measure", str(folder / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shutil.rmtree(folder / "store")
    m = json.loads(done.stdout)
    return {
        "structures": structures,
        "MB on disk": size / 1e6,
        "built, 1/s": structures / seconds,
        "open, ms": m["open_ms"],
        "read, us": m["read_us"],
        "of a core, us": m["read_cpu_us"],
        "reads, 1/s": 1e6 / m["read_us"],
        "RssAnon before, MB": m["RssAnon_before"],
        "after": m["RssAnon_after"],
        "RssFile before, MB": m["RssFile_before"],
        "after ": m["RssFile_after"],
        "graphs/s, 1 worker": m["graphs_1"],
        "2 workers": m["graphs_2"],
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the data go")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    rows = []
    for structures in arguments.structures:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            rows.append(row(Path(folder), structures))
        print(f"{structures:,} structures measured", file=sys.stderr, flush=True)
    formats = {name: ",.1f" if name == "open, ms" else ",.0f" for name in rows[0]}
    print(f"{markdown_table(rows, formats)}\n\n{processor_name()}, {versions('pyarrow', 'numpy', 'torch')}")


if __name__ == "__main__":
    main()
