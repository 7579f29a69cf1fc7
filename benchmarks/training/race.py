"""Time to accuracy against nequip: the same network, frames and cores, each side as many minutes.

    python benchmarks/training/race.py --data FOLDER --row mlearn-Si
    python benchmarks/training/race.py --data FOLDER --row zeolite --threads 1 --clock processor --minutes 8
    python benchmarks/training/race.py --data FOLDER --row mlearn-Si --minutes 0.5 --trial-seconds 10 --out /tmp/race

A row is one of those of scripts/accuracy.py: its files, and the network and settings of its configuration. Each side
tries the same settings (benchmarks/training/race_case.py) for a short time and keeps the one that is best on the
validation frames; nequip also tries torch.compile and keeps the mode that will take more steps. Then each side trains,
its learning rate following the clock to zero. Snapshots of the averaged weights, taken at equal spacings, are judged
afterwards by one code through both sides' ASE calculators: on the validation frames for the figure, and the best of
those on the test frames, near-twins of training frames left out. Reading data and building the model do not count;
compiling does.

What is finished stays in the folder of runs and is not repeated when the script is started again.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

import ase.io
import yaml

from benchmarks.accuracy.prepare import prepare
from benchmarks.accuracy.rows import ROWS, Row
from benchmarks.accuracy.rows import row as row_named
from benchmarks.accuracy.twins import nearest_frames
from benchmarks.peers import NEQUIP, PeerError, peer_python
from benchmarks.training import race_case, race_ours, race_peer
from benchmarks.training.race_report import draw, overview, page
from equinet.bench.side import processor_name
from equinet.data import compute_statistics, read_records, separate_isolated_atoms, split_records
from equinet.elements import SYMBOLS
from equinet.errors import InputError
from equinet.files import replacing
from equinet.training.losses import LossSettings, loss_scales

ROOT = Path(__file__).resolve().parents[2]
SIDES = ("equinet", NEQUIP.name)
TRIAL_SNAPSHOTS = 1
PATIENCE = 4.0
"""A clock of processor seconds may take so many times as long, on a machine with other work."""


@dataclass(frozen=True)
class Course:
    """What holds for the whole race."""

    case: race_case.Case
    runs: Path
    files: dict[str, Path]  # "train", "val"
    tests: dict[str, Path]
    minutes: float
    snapshots: int
    counted: str  # "wall" or "processor"
    trial_seconds: float
    compile_seconds: float
    threads: int
    seed: int


def lay_out(row: Row, data: Path, folder: Path, seed: int) -> tuple[dict[str, Path], dict[str, Path], race_case.Case]:
    """Write the frames that both sides train, validate and are tested on.

    Returns:
        Files of "train" and "val"; files of the row's tests; the case.

    Raises:
        InputError: a file is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = prepare(row, data, folder / "given")
    records = read_records(given.train).records
    frames = {record.source: frame for record, frame in zip(records, ase.io.read(given.train, ":"), strict=True)}
    _, moving = separate_isolated_atoms(records)
    parts = dict(zip(("train", "val"), split_records(moving, row.validation, seed), strict=True))
    files = {name: folder / f"{name}.extxyz" for name in parts}
    for name, part in parts.items():
        ase.io.write(files[name], [frames[record.source] for record in part], format="extxyz")
    tests = {}
    for name, path in given.tests.items():
        nearest = nearest_frames(read_records(path).records, parts["train"])
        fresh = [frame for frame, near in zip(ase.io.read(path, ":"), nearest, strict=True) if not near.is_twin]
        tests[name] = folder / f"test_{name.replace(' ', '_')}.extxyz"
        ase.io.write(tests[name], fresh, format="extxyz")
    return files, tests, _case(row, parts["train"])


def _case(row: Row, records: list[Any]) -> race_case.Case:
    """The network and settings of a row's configuration, its weights in units that do not depend on the data."""
    config = yaml.safe_load((ROOT / row.config).read_text())
    network, loss = config["model"]["architecture"], config["model"]["loss"]
    statistics = compute_statistics(records, network["cutoff"])
    scales = loss_scales(statistics, LossSettings())
    stress = statistics.frames_with_stress > 0
    raw = [loss["energy"] / scales.energy**2, loss["forces"] / scales.forces**2]
    raw.append(loss["stress"] / scales.stress**2 if stress else 0.0)
    energies = zip(statistics.species, statistics.isolated_energies, statistics.shift, strict=True)
    return race_case.Case(
        title=row.title,
        cutoff=network["cutoff"],
        layers=network["layers"],
        l_max=network["l_max"],
        channels=network["channels"],
        ema_decay=config["model"]["ema_decay"],
        shifts={SYMBOLS[number]: e0 + shift for number, e0, shift in energies},
        measure=row.measure,
        energy=row.energy,
        stress=stress,
        settings=race_case.settings(
            row.config, config["model"]["optimizer"]["lr"], config["data"]["batch_size"], *(w / raw[1] for w in raw)
        ),
    )


def train(
    course: Course, side: str, setting: race_case.Setting, clock: dict[str, Any], folder: Path, mode: str
) -> None:
    """Run a side's own training program with its own configuration.

    Raises:
        PeerError: it failed.
        subprocess.TimeoutExpired: it took far longer than its clock allows (compiling).
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    clock = {"folder": str(folder / "snapshots"), "lr": setting.lr, "counted": course.counted, **clock}
    files = {name: str(path) for name, path in course.files.items()}
    written = folder / "config.yaml"
    if side == SIDES[0]:
        configuration = race_ours.configuration(course.case, setting, clock, files, course.seed)
        command = [sys.executable, "-m", "equinet.cli", "train", "--config", str(written)]
        command += ["--run_dir", str(folder / "run")]
    else:
        configuration = race_peer.configuration(course.case, setting, clock, files, course.seed, mode)
        command = [str(peer_python(NEQUIP)), "-m", "nequip.scripts.train", "-cp", str(folder), "-cn", "config"]
        command += [f"hydra.run.dir={folder / 'hydra'}"]
    written.write_text(yaml.safe_dump(configuration, sort_keys=False))
    limit = clock["seconds"] + course.compile_seconds + 60.0
    _run(command, course.threads, folder / "log.txt", limit * (PATIENCE if course.counted == "processor" else 1.0))


def judge(course: Course, side: str, folder: Path, frames: Path) -> list[dict[str, float]]:
    """Errors of every snapshot of a training on the frames of a file, with the seconds each was taken at."""
    python, module = (sys.executable, "race_ours") if side == SIDES[0] else (str(peer_python(NEQUIP)), "race_peer")
    command = [python, "-m", f"benchmarks.training.{module}", str(folder), str(frames)]
    output = _run(command, course.threads, None, None)
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def _run(command: list[str], threads: int, log: Path | None, limit: float | None) -> str:
    """Run a process with the threads of the race; return, or write to the log, what it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if command[0] != sys.executable:
        environment.pop("PYTHONPATH", None)
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & environment.keys():
        environment["GOMP_SPINCOUNT"] = "1000"  # as equinet's command line has it, so for both
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=PIPE, stderr=PIPE, text=True, start_new_session=True
    )
    try:
        output, messages = process.communicate(timeout=limit)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # compilers that it started, too
    if log is not None:
        log.write_text(output + messages)
    if process.returncode:
        tail = messages.splitlines()[-12:]
        raise PeerError("\n".join([*tail, f"'{' '.join(command)}' failed (status {process.returncode})"]))
    return output


def once(path: Path, plan: dict[str, Any], make: Any) -> dict[str, Any]:
    """Return what an earlier start wrote for the same plan, or make it and write it."""
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        if found["plan"] == plan:
            return found
    values = {"plan": plan, **make()}
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=1) + "\n")
    return values


def choose_mode(course: Course, side: str) -> dict[str, Any]:
    """nequip's faster way to take steps: eager or compiled, the first steps of each included."""
    modes = ["eager", "compile"] if side != SIDES[0] and course.compile_seconds else ["eager"]
    plan = {"seconds": course.trial_seconds, "limit": course.compile_seconds, "threads": course.threads}

    def make() -> dict[str, Any]:
        found = {mode: _speed(course, side, mode) for mode in modes} if len(modes) > 1 else {"eager": {}}
        chosen = max(found, key=lambda mode: found[mode].get("steps_in_race", 0.0))
        return {"chosen": chosen, "modes": found}

    return once(course.runs / side / "mode.json", plan, make)


def _speed(course: Course, side: str, mode: str) -> dict[str, Any]:
    setting = course.case.settings[0]
    folder = course.runs / side / f"mode-{mode}"
    clock = {"seconds": course.trial_seconds, "snapshots": TRIAL_SNAPSHOTS, "first_step_counts": False}
    try:
        train(course, side, setting, clock, folder, mode)
    except subprocess.TimeoutExpired:
        _say(side, f"{mode}: had not finished its first steps after {course.compile_seconds:.0f} s, given up")
        return {"failed": f"no end of the first steps within {course.compile_seconds:.0f} s", "steps_in_race": 0.0}
    except PeerError as error:
        _say(side, f"{mode}: failed, {str(error).splitlines()[-1]}")
        return {"failed": "an error, see its log in the folder of runs", "steps_in_race": 0.0}
    values = json.loads((folder / "snapshots" / "clock.json").read_text())
    rest = max(60.0 * course.minutes - values["first_step_s"], 0.0)
    _say(side, f"{mode}: first step {values['first_step_s']:.1f} s, then {values['median_step_s']:.3f} s a step")
    return {**values, "steps_in_race": rest / values["median_step_s"]}


def try_settings(course: Course, side: str, mode: str) -> dict[str, Any]:
    """Errors of each setting on the validation frames after a short training; the best one's number.

    No seconds to try: the configuration's own.
    """
    if not course.trial_seconds:
        return {"best": 1, "trials": []}
    spread = race_case.label_spread(ase.io.read(course.files["val"], ":"))
    plan = {"seconds": course.trial_seconds, "mode": mode, "case": asdict(course.case)}
    plan |= {"seed": course.seed, "threads": course.threads}

    def make() -> dict[str, Any]:
        trials = []
        for number, setting in enumerate(course.case.settings):
            folder = course.runs / side / f"trial-{number}"
            clock = {"seconds": course.trial_seconds, "snapshots": TRIAL_SNAPSHOTS}
            train(course, side, setting, clock, folder, mode)
            found = judge(course, side, folder / "snapshots", course.files["val"])[-1]
            found["score"] = race_case.score(found, spread)
            found["steps"] = json.loads((folder / "snapshots" / "clock.json").read_text())["steps"]
            trials.append({"setting": setting.name, **found})
            _say(side, f"{setting.name}: score {found['score']:.3f} after {found['steps']} steps")
        best = min(range(len(trials)), key=lambda number: trials[number]["score"])
        return {"best": best, "trials": trials}

    return once(course.runs / side / "trials.json", plan, make)


def race(course: Course, side: str, setting: race_case.Setting, mode: str) -> dict[str, Any]:
    """Train for the whole time; errors of all snapshots on the validation frames, of the best and the last on the
    test."""
    seconds = 60.0 * course.minutes
    plan = {"seconds": seconds, "counted": course.counted, "mode": mode, "setting": asdict(setting)}
    plan |= {"case": asdict(course.case) | {"settings": None}, "seed": course.seed, "threads": course.threads}
    spread = race_case.label_spread(ase.io.read(course.files["val"], ":"))

    def make() -> dict[str, Any]:
        folder = course.runs / side / "race"
        _say(side, f"{course.minutes:g} minutes with {setting.name}, {mode}")
        train(course, side, setting, {"seconds": seconds, "snapshots": course.snapshots}, folder, mode)
        curve = judge(course, side, folder / "snapshots", course.files["val"])
        for point in curve:
            point["score"] = race_case.score(point, spread)
        best = min(curve, key=lambda point: point["score"])
        chosen = folder / "chosen"
        chosen.mkdir()
        names = sorted(path for path in (folder / "snapshots").iterdir() if path.suffix != ".json")
        for path in {names[curve.index(best)], names[-1]}:
            (chosen / path.name).symlink_to(path)
        clock = json.loads((folder / "snapshots" / "clock.json").read_text())
        _say(side, f"{clock['steps']} steps, score {best['score']:.3f} on validation")
        found: dict[str, dict[str, Any]] = {"test": {}, "test_last": {}}
        for name, path in course.tests.items():
            test = judge(course, side, chosen, path)
            found["test"][name] = next(point for point in test if point["seconds"] == best["seconds"])
            found["test_last"][name] = test[-1]
        return {"curve": curve, "clock": clock, **found}

    return once(course.runs / side / "race.json", plan, make)


def _say(side: str, text: str) -> None:
    print(f"race: {side}: {text}", file=sys.stderr, flush=True)


def render(out: Path) -> None:
    """Write the page and the figure of each row that was raced, and the table of all."""
    names = [row.name for row in ROWS if (out / f"{row.name}.json").is_file()]
    raced = {name: json.loads((out / f"{name}.json").read_text()) for name in names}
    for name, found in raced.items():
        (out / f"{name}.md").write_text(page(name, found), encoding="utf-8")
        draw(found, out / f"{name}.png")
    (out / "README.md").write_text(overview(raced), encoding="utf-8")


def main() -> int:
    """Run the race, or what is missing of it, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="the data sets, a folder for each")
    parser.add_argument(
        "--row", default="mlearn-Si", choices=[row.name for row in ROWS], metavar="ROW", help="(%(default)s)"
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="for each side (default %(default)g)")
    parser.add_argument(
        "--trial-seconds",
        type=float,
        default=90.0,
        help="for each setting (default %(default)g); 0: none is tried, both have the row's own",
    )
    parser.add_argument(
        "--compile-seconds",
        type=float,
        default=300.0,
        help="nequip's compiled mode may take (default %(default)g); 0: it is not tried",
    )
    parser.add_argument("--snapshots", type=int, default=20, help="of each side (default %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="(default: all cores, %(default)s)")
    parser.add_argument(
        "--clock",
        choices=("wall", "processor"),
        default="wall",
        help="what a minute is of; the processor's, with one thread, where other work runs (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="(default %(default)s)")
    parser.add_argument("--only", choices=SIDES, help="one side alone; the report needs both")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "race", help="(default %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "reports" / "race", help="for reports (default %(default)s)"
    )
    parser.add_argument("--render", action="store_true", help="make the pages anew from the results there are")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not arguments.render:
        if arguments.data is None:
            parser.error("give the folder of the data sets with --data")
        try:
            run(arguments)
        except (InputError, PeerError, subprocess.TimeoutExpired) as error:
            print(f"race: {error}", file=sys.stderr)
            return 1
    render(arguments.out)
    return 0


def run(arguments: argparse.Namespace) -> None:
    """Race one row, and write what was found.

    Raises:
        InputError: data are missing.
        PeerError: a side failed.
        subprocess.TimeoutExpired: a side took far longer than its clock allows.
    """
    runs = (arguments.runs / arguments.row).resolve()
    files, tests, case = lay_out(row_named(arguments.row), arguments.data.resolve(), runs / "data", arguments.seed)
    course = Course(
        case,
        runs,
        files,
        tests,
        arguments.minutes,
        arguments.snapshots,
        arguments.clock,
        arguments.trial_seconds,
        arguments.compile_seconds,
        arguments.threads,
        arguments.seed,
    )
    results: dict[str, Any] = {}
    for side in SIDES:
        if arguments.only in (None, side):
            (runs / side).mkdir(parents=True, exist_ok=True)
            mode = choose_mode(course, side)
            trials = try_settings(course, side, mode["chosen"])
            found = race(course, side, case.settings[trials["best"]], mode["chosen"])
            results[side] = {"mode": mode, "trials": trials, "race": found}
    if len(results) == len(SIDES):
        told = {"title": case.title, "network": case.network, "reported": case.reported, "minutes": arguments.minutes}
        told |= {"counted": arguments.clock, "processor": processor_name(), "threads": arguments.threads}
        with replacing(arguments.out / f"{arguments.row}.json") as partial:
            partial.write_text(json.dumps(told | {"sides": results}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
