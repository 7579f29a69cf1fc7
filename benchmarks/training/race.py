"""Time to accuracy against nequip on mlearn silicon: the same network, frames and cores, each side as many minutes.

    python benchmarks/training/race.py --data FOLDER/mlearn_Si
    python benchmarks/training/race.py --data FOLDER/mlearn_Si --minutes 0.5 --trial-seconds 10 --out /tmp/race

Each side tries the same settings (benchmarks/training/race_case.py) for a short time and keeps the one that is best on
the validation frames; nequip also tries torch.compile and keeps the mode that will take more steps. Then each side
trains alone on the machine, its learning rate following the clock to zero. Snapshots of the averaged weights, taken at
equal spacings, are judged afterwards by one code through both sides' ASE calculators: on the validation frames for the
figure, and the best of those on the test frames. Reading data and building the model do not count; compiling does.

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

from benchmarks.peers import NEQUIP, PeerError, peer_python
from benchmarks.training import race_case as case
from benchmarks.training import race_ours, race_peer
from benchmarks.training.race_report import draw, page
from equinet.bench.side import processor_name
from equinet.data import read_records, split_records
from equinet.files import replacing

ROOT = Path(__file__).resolve().parents[2]
SIDES = ("equinet", NEQUIP.name)
SNAPSHOTS = 20
TRIAL_SNAPSHOTS = 1
VALIDATION = 0.1  # of the training file, split as ``equinet train`` does


@dataclass(frozen=True)
class Course:
    """What holds for the whole race."""

    runs: Path
    files: dict[str, Path]  # train, val, test
    minutes: float
    trial_seconds: float
    compile_seconds: float
    threads: int
    seed: int


def split(data: Path, folder: Path, seed: int) -> dict[str, Path]:
    """Write the frames both sides train and validate on."""
    frames = ase.io.read(data / "train.extxyz", ":")
    records = read_records(data / "train.extxyz").records
    chosen = {record.source for record in split_records(records, VALIDATION, seed)[1]}
    parts: dict[str, list[Any]] = {"train": [], "val": []}
    for frame, record in zip(frames, records, strict=True):
        parts["val" if record.source in chosen else "train"].append(frame)
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.extxyz" for name in parts}
    for name, part in parts.items():
        ase.io.write(files[name], part, format="extxyz")
    return files | {"test": data / "test.extxyz"}


def train(course: Course, side: str, setting: case.Setting, clock: dict[str, Any], folder: Path, mode: str) -> None:
    """Run a side's own training program with its own configuration.

    Raises:
        PeerError: it failed.
        subprocess.TimeoutExpired: it took far longer than its clock allows (compiling).
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    clock = {"folder": str(folder / "snapshots"), "lr": setting.lr, **clock}
    files = {name: str(path) for name, path in course.files.items()}
    written = folder / "config.yaml"
    if side == SIDES[0]:
        configuration = race_ours.configuration(setting, clock, files, course.seed)
        command = [sys.executable, "-m", "equinet.cli", "train", "--config", str(written)]
        command += ["--run_dir", str(folder / "run")]
    else:
        configuration = race_peer.configuration(setting, clock, files, course.seed, mode)
        command = [str(peer_python(NEQUIP)), "-m", "nequip.scripts.train", "-cp", str(folder), "-cn", "config"]
        command += [f"hydra.run.dir={folder / 'hydra'}"]
    written.write_text(yaml.safe_dump(configuration, sort_keys=False))
    limit = clock["seconds"] + course.compile_seconds + 60.0
    _run(command, course.threads, folder / "log.txt", limit)


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
    modes = ["eager", "compile"] if side != SIDES[0] else ["eager"]
    plan = {"seconds": course.trial_seconds, "limit": course.compile_seconds, "threads": course.threads}

    def make() -> dict[str, Any]:
        found = {mode: _speed(course, side, mode) for mode in modes} if len(modes) > 1 else {"eager": {}}
        chosen = max(found, key=lambda mode: found[mode].get("steps_in_race", 0.0))
        return {"chosen": chosen, "modes": found}

    return once(course.runs / side / "mode.json", plan, make)


def _speed(course: Course, side: str, mode: str) -> dict[str, Any]:
    setting = case.SETTINGS[0]
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
    """Errors of each setting on the validation frames after a short training; the best one's number."""
    spread = case.label_spread(ase.io.read(course.files["val"], ":"))
    plan = {"seconds": course.trial_seconds, "mode": mode, "settings": [asdict(s) for s in case.SETTINGS]}
    plan |= {"seed": course.seed, "threads": course.threads}

    def make() -> dict[str, Any]:
        trials = []
        for number, setting in enumerate(case.SETTINGS):
            folder = course.runs / side / f"trial-{number}"
            clock = {"seconds": course.trial_seconds, "snapshots": TRIAL_SNAPSHOTS}
            train(course, side, setting, clock, folder, mode)
            found = judge(course, side, folder / "snapshots", course.files["val"])[-1]
            found["score"] = case.score(found, spread)
            found["steps"] = json.loads((folder / "snapshots" / "clock.json").read_text())["steps"]
            trials.append({"setting": setting.name, **found})
            _say(side, f"{setting.name}: score {found['score']:.3f} after {found['steps']} steps")
        best = min(range(len(trials)), key=lambda number: trials[number]["score"])
        return {"best": best, "trials": trials}

    return once(course.runs / side / "trials.json", plan, make)


def race(course: Course, side: str, setting: case.Setting, mode: str) -> dict[str, Any]:
    """Train for the whole time; errors of all snapshots on the validation frames, of the best and the last on the
    test."""
    seconds = 60.0 * course.minutes
    plan = {"seconds": seconds, "mode": mode, "setting": asdict(setting), "seed": course.seed}
    plan |= {"threads": course.threads}
    spread = case.label_spread(ase.io.read(course.files["val"], ":"))

    def make() -> dict[str, Any]:
        folder = course.runs / side / "race"
        _say(side, f"{course.minutes:g} minutes with {setting.name}, {mode}")
        train(course, side, setting, {"seconds": seconds, "snapshots": SNAPSHOTS}, folder, mode)
        curve = judge(course, side, folder / "snapshots", course.files["val"])
        for point in curve:
            point["score"] = case.score(point, spread)
        best = min(curve, key=lambda point: point["score"])
        chosen = folder / "chosen"
        chosen.mkdir()
        names = sorted(path for path in (folder / "snapshots").iterdir() if path.suffix != ".json")
        for path in {names[curve.index(best)], names[-1]}:
            (chosen / path.name).symlink_to(path)
        test = judge(course, side, chosen, course.files["test"])
        clock = json.loads((folder / "snapshots" / "clock.json").read_text())
        by_seconds = {point["seconds"]: point for point in test}
        _say(side, f"{clock['steps']} steps, score {best['score']:.3f} on validation")
        return {"curve": curve, "clock": clock, "test": by_seconds[best["seconds"]], "test_last": test[-1]}

    return once(course.runs / side / "race.json", plan, make)


def _say(side: str, text: str) -> None:
    print(f"race: {side}: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Run the race, or what is missing of it, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.extxyz and test.extxyz of silicon")
    parser.add_argument("--minutes", type=float, default=20.0, help="for each side (default %(default)g)")
    parser.add_argument("--trial-seconds", type=float, default=90.0, help="for each setting (default %(default)g)")
    parser.add_argument(
        "--compile-seconds", type=float, default=300.0, help="nequip's compiled mode may take (default %(default)g)"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="(default: all cores, %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default %(default)s)")
    parser.add_argument("--only", choices=SIDES, help="one side alone; the report needs both")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "race", help="(default %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "reports", help="for the report (default %(default)s)"
    )
    arguments = parser.parse_args()
    runs = arguments.runs.resolve()
    course = Course(
        runs,
        split(arguments.data.resolve(), runs / "data", arguments.seed),
        arguments.minutes,
        arguments.trial_seconds,
        arguments.compile_seconds,
        arguments.threads,
        arguments.seed,
    )
    results: dict[str, Any] = {}
    try:
        for side in SIDES:
            if arguments.only in (None, side):
                (runs / side).mkdir(parents=True, exist_ok=True)
                mode = choose_mode(course, side)
                trials = try_settings(course, side, mode["chosen"])
                found = race(course, side, case.SETTINGS[trials["best"]], mode["chosen"])
                results[side] = {"mode": mode, "trials": trials, "race": found}
    except (PeerError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return 1
    if len(results) == len(SIDES):
        machine = {"processor": processor_name(), "threads": arguments.threads, "minutes": arguments.minutes}
        (arguments.out / "figures").mkdir(parents=True, exist_ok=True)
        text = page(results, machine)
        (arguments.out / "race.json").write_text(json.dumps(machine | {"sides": results}, indent=1) + "\n")
        (arguments.out / "race.md").write_text(text, encoding="utf-8")
        draw(results, machine, arguments.out / "figures" / "race.png")
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
