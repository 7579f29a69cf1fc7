"""Accuracy on public data sets: trains each row with three seeds, tests, and writes the tables. It can be stopped and
started again at any time: what is finished is not repeated, what is half done goes on.

    python scripts/accuracy.py --data FOLDER --only mlearn-Si acac
    python scripts/accuracy.py --data FOLDER --list

A row names its files, configuration and published rows (benchmarks/accuracy/rows.py); each training is a call of
`equinet train`. Beside the errors stand those of copying the nearest training frame; test frames that are as good as in
the training set (benchmarks/accuracy/twins.py) are counted, and dropped from the headline.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.accuracy.measure import ROOT, Settings, measure
from benchmarks.accuracy.rows import ROWS, Row
from benchmarks.accuracy.tables import overview, row_page
from equinet.errors import InputError
from equinet.files import replacing, sha256

OUT = ROOT / "benchmarks" / "reports" / "accuracy"


def write(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def render(out: Path) -> None:
    """Write the page of each row that has results, and the overview."""
    results = {}
    for row in ROWS:
        files = sorted(out.glob(f"{row.name}_seed*.json"), key=lambda path: int(path.stem.rpartition("seed")[2]))
        if files:
            results[row] = [json.loads(path.read_text()) for path in files]
            write(out / f"{row.name}.md", row_page(row, results[row]))
    if results:
        write(out / "README.md", f"# Accuracy\n\n{overview(results)}\n{NOTE}\n")


NOTE = """Errors without twins of training frames; mean over the seeds, in brackets the least and the largest. The page
of each row has the errors with twins, by group, and published rows with their sources. Made by
`python scripts/accuracy.py`."""


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="the data sets, a folder for each")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows alone, in this order (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    parser.add_argument("--out", type=Path, default=OUT, help="for results and tables (default: %(default)s)")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "accuracy", help="(default: %(default)s)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    parser.add_argument("--epochs", type=int, help="to try it out: as many epochs, and give --out and --runs too")
    parser.add_argument("--list", action="store_true", help="list the rows")
    parser.add_argument("--render", action="store_true", help="make the tables anew from the results there are")
    arguments = parser.parse_args()
    if arguments.list:
        for row in ROWS:
            print(f"{row.name:<26} {row.config:<26} {row.title}")
        return 0
    by_name = {row.name: row for row in ROWS}
    for name in arguments.only or ():
        if name not in by_name:
            parser.error(f"there is no row {name}; --list shows them")
    if arguments.epochs is not None and arguments.out == OUT:
        parser.error("--epochs is for trying out; give another folder with --out, and --runs")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not arguments.render:
        if arguments.data is None:
            parser.error("give the folder of the data sets with --data")
        settings = Settings(
            arguments.data.resolve(), arguments.runs.resolve(), arguments.device, epochs=arguments.epochs
        )
        rows = [by_name[name] for name in arguments.only] if arguments.only else list(ROWS)
        try:
            measure_all(rows, arguments.seeds, settings, arguments.out)
        except InputError as error:
            print(f"accuracy: {error}", file=sys.stderr)
            return 1
    render(arguments.out)
    print(f"accuracy: tables are in {arguments.out}")
    return 0


def measure_all(rows: list[Row], seeds: list[int], settings: Settings, out: Path) -> None:
    """First seeds of all rows first, so that whenever it is stopped there is most to show.

    Raises:
        InputError: see :func:`benchmarks.accuracy.measure.measure`; a result of another configuration.
    """
    for seed in seeds:
        for row in rows:
            result = out / f"{row.name}_seed{seed}.json"
            if result.exists():
                if json.loads(result.read_text())["config_sha256"] != sha256(ROOT / row.config):
                    raise InputError(
                        f"{result} was measured with another {row.config} than now; remove it or restore that"
                    )
                print(f"accuracy: {row.name}, seed {seed}: done before", flush=True)
                continue
            print(f"accuracy: {row.name}, seed {seed}, {time.strftime('%H:%M:%S')}", flush=True)
            values = measure(row, seed, settings)
            write(result, json.dumps(values, indent=1) + "\n")
            render(out)


if __name__ == "__main__":
    sys.exit(main())
