"""``equinet data``: stores of labelled structures built, described, checked and divided."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equinet.cli.options import add_seed, natural_number, positive_integer, verb_parser
from equinet.errors import InputError

if TYPE_CHECKING:
    from equinet.data.store import Built, Manifest

HELP = "build, describe, check and divide stores of labelled structures"
DESCRIPTION = """Data sets of any size: a store is a folder of files from which structures are read one by one, so that
neither training nor the commands below hold the data in memory. Train on it with --data.train_path STORE, or on a part
of it with STORE:NAME. 'equinet data ACTION --help' explains an action."""
EXAMPLE = """equinet data build run*/OUTCAR frames.extxyz -o STORE
  equinet data check STORE
  equinet data split STORE --fractions 0.9 0.05 0.05 --by composition
  equinet data stats STORE:train -o figures"""

BUILD = """Read labelled structures and write them into a store, or add them to one.

Files: anything ASE reads (extended XYZ, OUTCAR, vasprun.xml, ...), ASE databases (.db), fairchem's .aselmdb, folders
of DeePMD-kit, input.data of n2p2, .cfg of MTP. They are read frame by frame. Interrupted, the same command goes on
where it stopped; with more files it adds them. A file with an error stops the build; what was read before it stays."""
CHECK = """Compare checksums, then look for duplicates, large forces, forces that do not add up to zero, energies far
from others of the same composition, atoms too close, and missing labels. Exits with 1 where a file is damaged;
oddities are listed for you to judge. Training compares checksums itself where a store has at most 4 GB."""
SPLIT = """Divide a store into parts, each a list of structures kept in it: train on STORE:train.

By group, composition or dataset, structures that belong together are kept together, so that a test set has no
near-twins of training frames. Isolated atoms go to the first part."""


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: files or stores that cannot be used.
    """
    parser = verb_parser("data", DESCRIPTION, EXAMPLE)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str, example: str) -> argparse.ArgumentParser:
        return actions.add_parser(
            name,
            help=text.split(".")[0].replace("\n", " "),
            description=text,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    build = action("build", BUILD, "equinet data build train.extxyz more.db -o STORE --level-of-theory 'PBE, 520 eV'")
    build.add_argument("files", metavar="FILE", nargs="+", type=Path, help="labelled structures")
    build.add_argument("-o", "--output", metavar="STORE", type=Path, required=True, help="a folder, new or a store")
    for label in ("energy", "forces", "stress", "virial"):
        build.add_argument(
            f"--keys.{label}", dest=label, metavar="KEY", help=f"where the {label} label is (default: found)"
        )
    build.add_argument("--dataset", metavar="NAME", help="of the data set (default: FOLDER/FILE of each file)")
    build.add_argument("--level-of-theory", metavar="TEXT", help="kept in the manifest")
    build.add_argument(
        "--elements", nargs="+", default=[], metavar="SYMBOL", help="of the atom types 0, 1, ... (MTP, DeePMD-kit)"
    )
    build.add_argument(
        "--n2p2-units",
        choices=("atomic", "metal"),
        default="atomic",
        help="of n2p2 files: Hartree and Bohr, or eV and Angstrom (default: atomic)",
    )
    build.add_argument(
        "--shard-mb", type=positive_integer, default=64, metavar="MB", help="size of a shard (default: 64)"
    )
    info = action("info", "Say what a store holds and where it came from.", "equinet data info STORE")
    info.add_argument("store", metavar="STORE", type=Path)
    check = action("check", CHECK, "equinet data check STORE --json findings.json")
    check.add_argument("data", metavar="STORE", type=Path, help="a store, a part of one (STORE:NAME), or a file")
    split = action("split", SPLIT, "equinet data split STORE --fractions 0.9 0.05 0.05 --by group --seed 1")
    split.add_argument("store", metavar="STORE", type=Path)
    split.add_argument(
        "--fractions", nargs="+", type=float, default=[0.9, 0.05, 0.05], metavar="F", help="default: 0.9 0.05 0.05"
    )
    split.add_argument(
        "--names", nargs="+", default=["train", "val", "test"], metavar="NAME", help="default: train val test"
    )
    split.add_argument(
        "--by",
        choices=("random", "group", "composition", "dataset"),
        default="random",
        help="what is kept together (default: random, nothing)",
    )
    split.add_argument("--group-key", default="group", metavar="KEY", help="info key of the group (default: group)")
    add_seed(split)
    stats = action(
        "stats",
        "Describe elements, sizes, neighbours and labels, in text, JSON and a figure.",
        "equinet data stats STORE --cutoff 5 -o figures",
    )
    stats.add_argument("data", metavar="STORE", type=Path, help="a store, a part of one (STORE:NAME), or a file")
    stats.add_argument("--cutoff", type=float, default=5.0, metavar="A", help="of neighbours, Angstrom (default: 5)")
    stats.add_argument("-o", "--output", metavar="DIR", type=Path, help="folder for stats.json and stats.png")
    for long in (check, stats):
        long.add_argument("--workers", type=natural_number, metavar="N", help="processes (default: every core)")
    check.add_argument("--json", metavar="FILE", type=Path, help="write all findings")
    arguments = parser.parse_args(argv)
    return int(ACTIONS[arguments.action](arguments))


def _build(arguments: argparse.Namespace) -> int:
    from equinet.cli.progress import progress
    from equinet.data.formats import FormatOptions
    from equinet.data.keys import LabelKeys
    from equinet.data.store import Limits, Provenance, build_store, read_manifest

    keys = LabelKeys(arguments.energy, arguments.forces, arguments.stress, arguments.virial)
    options = FormatOptions(tuple(arguments.elements), arguments.n2p2_units)
    provenance = Provenance(arguments.dataset, arguments.level_of_theory)
    limits = Limits(bytes=arguments.shard_mb * 2**20)
    with progress("structures", None) as done:
        built = build_store(arguments.files, arguments.output, keys, options, provenance, limits, done)
    for file in built:
        print(_built_line(file))
    manifest = read_manifest(arguments.output)
    print(
        f"{arguments.output}: {manifest.structures} structures, {manifest.atoms} atoms, {len(manifest.shards)} shards"
    )
    return 0


def _built_line(file: "Built") -> str:
    if file.report is None:
        return f"{file.path}: in the store already"
    report = file.report
    labels = [
        f"{name} from {key} ({count})" if key else f"no {name}"
        for name, key, count in (
            ("energy", report.keys.energy, report.frames_with_energy),
            ("forces", report.keys.forces, report.frames_with_forces),
            ("virial", report.keys.stress or report.keys.virial, report.frames_with_virial),
        )
    ]
    return f"{file.path}: {report.frames} frames, {file.format}; {', '.join(labels)}; units: {file.units}"


def _info(arguments: argparse.Namespace) -> int:
    from equinet.data.store import Store
    from equinet.data.store.splits import names_of_splits

    manifest = Store(arguments.store).manifest
    print("\n".join(_info_lines(manifest)))
    print(f"splits: {', '.join(names_of_splits(arguments.store)) or 'none'}")
    return 0


def _info_lines(manifest: "Manifest") -> list[str]:
    summary = manifest.summary()
    lines = [
        f"structures: {summary['structures']}",
        f"atoms: {summary['atoms']}",
        f"labelled: energy {summary['with_energy']}, forces {summary['with_forces']}, stress {summary['with_stress']}, "
        f"virial {summary['with_virial']}",
        "structures with: " + ", ".join(f"{symbol} {count}" for symbol, count in summary["elements"].items()),
        f"shards: {len(manifest.shards)}, {summary['bytes'] / 1e6:.1f} MB",
        "units: " + ", ".join(f"{name} {unit}" for name, unit in manifest.units.items()),
        f"fingerprint: {summary['fingerprint']}",
        f"made by: equinet {manifest.equinet_version}",
        "files:",
    ]
    for entry in manifest.inputs:
        tally = entry.tally
        lines.append(f"  {entry.path}")
        lines.append(
            f"    {tally.frames} frames, {tally.unlabelled} of them without labels; {entry.format}; "
            f"data set {entry.dataset}; level of theory {entry.level_of_theory or 'not given'}"
        )
        used = vars(entry.keys_used) if entry.keys_used else {}
        lines.append("    labels from " + ", ".join(f"{label}: {key}" for label, key in used.items() if key))
        lines.append(f"    in the file: {entry.units}; sha256 {entry.sha256}")
    return lines


def _check(arguments: argparse.Namespace) -> int:
    from equinet.cli.progress import progress
    from equinet.data import Store, open_records
    from equinet.data.findings import examine
    from equinet.data.store.checksums import verify_checksums
    from equinet.files import check_output, check_outputs

    if arguments.json:
        check_output(arguments.json)
        check_outputs({"--json": arguments.json}, [arguments.data])
    records = open_records(arguments.data)
    if isinstance(records, Store):
        with progress("checksums", len(records.manifest.shards)) as done:
            verify_checksums(records, done)
        print(f"checksums: {len(records.manifest.shards)} shards as written")
    with progress("examining", len(records)) as done:
        findings = examine(records, arguments.workers, done)
    print(f"structures: {findings.structures}")
    print("\n".join(findings.lines(lambda index: records[index].source)))
    if arguments.json:
        _write_json(arguments.json, findings.to_dict())
    return 0


def _split(arguments: argparse.Namespace) -> int:
    from equinet.data.store import Store
    from equinet.data.store.splits import divide, write_split

    names: Sequence[str] = arguments.names
    if len(names) != len(arguments.fractions) and names == ["train", "val", "test"]:
        names = names[: len(arguments.fractions)]
    if len(names) != len(arguments.fractions) or len(set(names)) < len(names):
        raise InputError(f"{len(arguments.fractions)} fractions need as many different --names, not {' '.join(names)}")
    store = Store(arguments.store)
    parts = divide(store, arguments.fractions, arguments.by, arguments.seed, arguments.group_key)
    how = {"by": arguments.by, "seed": arguments.seed, "fractions": arguments.fractions}
    for name, part in zip(names, parts, strict=True):
        path = write_split(store, name, part, how)
        print(f"{arguments.store}:{name}: {len(part)} structures ({path})")
    left = len(store) - sum(map(len, parts))
    if left:
        total = f"{sum(arguments.fractions):g}"
        print(f"in no part: {left} structures, for the fractions add up to {total}")
    return 0


def _stats(arguments: argparse.Namespace) -> int:
    from equinet.cli.progress import progress
    from equinet.data import open_records, reading
    from equinet.data.description import MAXIMUM_FRAMES, describe, draw_description

    if not 0 < arguments.cutoff < 100:
        raise InputError(f"--cutoff {arguments.cutoff} must be a length in Angstrom, such as 5")
    records = open_records(arguments.data)
    units = reading(records, arguments.data).other_units
    if units:
        print(f"{arguments.data}: units: {units}")
    with progress("reading", min(len(records), MAXIMUM_FRAMES)) as done:
        description = describe(records, arguments.cutoff, arguments.workers, done)
    print("\n".join(description.lines()))
    if arguments.output:
        try:
            arguments.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{arguments.output}: cannot be made ({error.strerror}); give another --output") from error
        title = f"{arguments.data}: {len(records):,} structures"
        draw_description(description, title, arguments.output / "stats.png")
        _write_json(arguments.output / "stats.json", description.facts)
        print(f"figure and numbers: {arguments.output / 'stats.png'}, {arguments.output / 'stats.json'}")
    return 0


def _write_json(path: Path, values: dict[str, Any]) -> None:
    from equinet.files import replacing

    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


ACTIONS = {"build": _build, "info": _info, "check": _check, "split": _split, "stats": _stats}
