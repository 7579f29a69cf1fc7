"""Active learning end to end: rounds of dynamics with the model, choice of frames, labels of GFN2-xTB and training.

    python benchmarks/uncertainty/active_learning.py --work FOLDER --report benchmarks/reports/uncertainty

Ethylene glycol, from 50 frames at 300 K of the sample that ships with the package, towards dynamics at 1000 K. In each
round the verbs run as a user would type them, in this process: equinet train, equinet uncertainty (ten more frames of
300 K calibrate it), equinet md from eight starts, equinet select; tblite labels what was chosen, in an environment that
is made under the user's cache directory. Strategies: random, farthest-point, and equinet select's own. All take the
same number of frames, train as many steps, and choose from the trajectories of their own models; for all of them a
trajectory ends where the molecule breaks (a bond half an Angstrom from its length, or a new one). The first round is
the same for all. Judged on the sample's test frames and by how long the molecule stays whole in the same dynamics.
Seeds vary the first frames, the weights, the starts and the random numbers of dynamics.

What is in the work folder already is not done again: call it as often as it takes.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray

from benchmarks.peers import TBLITE, peer_python
from equinet.cli.main import main as equinet
from equinet.data import read_records, samples
from equinet.models import load_model
from equinet.training.evaluation import predict_records

STRATEGIES = ("random", "farthest", "uncertainty")
CALIBRATION = 10  # frames
ISOLATED = 3  # frames of a single atom, which give E0
BROKEN = 0.5  # Angstrom, of a bond from its length at the start (Fu et al., Trans. Mach. Learn. Res. (2023))
NETWORK = {
    "model.architecture.cutoff": 4.0,
    "model.architecture.layers": 3,
    "model.architecture.l_max": 1,
    "model.architecture.channels": 16,
    "model.architecture.parity": "natural",
    "model.loss.energy": 1,
    "model.loss.forces": 100,
    "model.optimizer.lr": 0.01,
    "model.ema_decay": 0.99,
    "data.batch_size": 5,
    "trainer.limit_val_batches": 0,
    "trainer.enable_progress_bar": "false",
    "trainer.accelerator": "cpu",
}
"""A network that trains in half a minute of one core."""


@dataclass(frozen=True)
class Protocol:
    """What is the same for every strategy."""

    frames: int = 50  # to begin with
    chosen: int = 25  # a round
    rounds: int = 3
    seeds: int = 5
    train_steps: int = 1200
    temperature: float = 1000.0  # K, of the dynamics
    starts: int = 8
    md_steps: int = 1000
    timestep: float = 1.0  # fs
    interval: int = 10  # steps between frames


def prepare(protocol: Protocol, seed: int, folder: Path) -> None:
    """The first frames, those that calibrate, and the starts of dynamics, none of them twice."""
    if (folder / "starts.extxyz").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    frames = ase.io.read(samples.path("glycol", "train"), ":")
    isolated = [frame for frame in frames if frame.info["group"] == "isolated_atom"]
    cold = [frame for frame in frames if frame.info["group"] == "300K"]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(cold))
    parts = np.split(order, np.cumsum([protocol.frames, CALIBRATION, protocol.starts]))
    ase.io.write(folder / "train.extxyz", [*isolated, *(cold[i] for i in parts[0])])
    ase.io.write(folder / "calibrate.extxyz", [cold[i] for i in parts[1]])
    ase.io.write(folder / "starts.extxyz", [cold[i] for i in parts[2]])


def run_verb(log: Path, *arguments: object) -> None:
    """A verb of ours in this process, what it says in a file."""
    with log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        code = equinet([str(argument) for argument in arguments])
    if code:
        raise SystemExit(f"equinet {arguments[0]} failed: {log.read_text().strip().splitlines()[-1]}")


def train(protocol: Protocol, seed: int, data: Path, held_out: Path, folder: Path) -> None:
    """The model of a round, and its error bars."""
    log = folder / "log.txt"
    if not (folder / "run" / "model.safetensors").is_file():
        options = [part for key, value in NETWORK.items() for part in (f"--{key}", value)]
        files = ["--data.train_path", data, "--data.val_path", held_out]
        options += ["--trainer.max_steps", protocol.train_steps, "--seed", seed]
        run_verb(log, "train", *files, "--run_dir", folder / "run", "--resume", "auto", *options)
    if not (folder / "bars.safetensors").is_file():
        model = folder / "run" / "model.safetensors"
        files = ["--train", data, "--calibrate", held_out, "-o", folder / "bars.safetensors"]
        run_verb(log, "uncertainty", model, *files, "--seed", seed)


def simulate(protocol: Protocol, seed: int, starts: Path, folder: Path) -> None:
    """Dynamics with the model from all starts."""
    if (folder / "md" / "summary.json").is_file():
        return
    model, output = folder / "run" / "model.safetensors", folder / "md"
    bath = ["--ensemble", "nvt", "--temperature", protocol.temperature, "--timestep", protocol.timestep]
    length = ["--steps", protocol.md_steps, "--interval", protocol.interval]
    going_on = ["--resume"] if (output / "checkpoint.npz").is_file() else []
    options = ["--frame", ":", *bath, *length, "--seed", seed, "--skip-bad", "-o", output, *going_on]
    run_verb(folder / "log.txt", "md", model, starts, *options)


def stable_frames(start: Atoms, trajectory: Sequence[Atoms]) -> int:
    """How many frames pass before the molecule is another one: a bond of the start is broken, or there is a new one.

    None of the sample's 474 test frames of GFN2-xTB is another one, those of 1000 K included.
    """
    bonds = bonds_of(start)
    known = {tuple(pair) for pair in bonds.tolist()}
    lengths = _lengths(start, bonds)
    for number, frame in enumerate(trajectory):
        broken = np.abs(_lengths(frame, bonds) - lengths).max() > BROKEN
        if broken or {tuple(pair) for pair in bonds_of(frame).tolist()} - known:
            return number
    return len(trajectory)


def bonds_of(atoms: Atoms) -> NDArray[np.int64]:
    """[n, 2] pairs of atoms nearer than 1.25 of the sum of their covalent radii."""
    radii = covalent_radii[atoms.numbers]
    near = atoms.get_all_distances() < 1.25 * (radii[:, None] + radii)
    return np.argwhere(np.triu(near, 1))


def _lengths(atoms: Atoms, bonds: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(atoms.positions[bonds[:, 0]] - atoms.positions[bonds[:, 1]], axis=1))


def whole(protocol: Protocol, starts: Path, folder: Path) -> tuple[list[Atoms], list[float]]:
    """Frames of all trajectories before the molecule breaks, and how long each is whole, ps."""
    frames: list[Atoms] = []
    times = []
    spacing = protocol.interval * protocol.timestep / 1000
    expected = protocol.md_steps // protocol.interval
    files = sorted((folder / "md").glob("*.extxyz"))
    for start, file in zip(ase.io.read(starts, ":"), files, strict=True):
        trajectory = ase.io.read(file, ":")
        count = stable_frames(start, trajectory)
        frames += trajectory[1:count]  # the first is the start
        times.append(min(max(count - 1, 0), expected) * spacing)
    return frames, times


def choose(protocol: Protocol, strategy: str, seed: int, base: Path, number: int) -> None:
    """Frames from the dynamics of the round before, labelled, beside those that there were: the data of a round."""
    target = data_of(base, strategy, number)
    if target.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    before, known = folder_of(base, strategy, number - 1), data_of(base, strategy, number - 1)
    pool, chosen, labelled = (target.with_name(f"{name}.extxyz") for name in ("pool", "chosen", "labelled"))
    ase.io.write(pool, whole(protocol, base / "starts.extxyz", before)[0])
    model, bars = before / "run" / "model.safetensors", before / "bars.safetensors"
    options = ["--labelled", known, "-n", protocol.chosen, "--by", strategy, "--seed", seed, "-o", chosen]
    run_verb(target.with_name("log.txt"), "select", model, pool, "--uncertainty", bars, *options)
    label(chosen, labelled)
    ase.io.write(target, [*ase.io.read(known, ":"), *ase.io.read(labelled, ":")])
    pool.unlink()


def label(source: Path, target: Path) -> None:
    """With tblite, in a process of its own."""
    script = Path(__file__).with_name("label_gfn2.py")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([str(peer_python(TBLITE)), str(script), str(source), str(target)], check=True, env=clean)


def errors(model: Path) -> dict[str, dict[str, float]]:
    """On the test frames of the sample by group, meV/Angstrom of force components and meV/atom."""
    potential = load_model(model)
    predictions = predict_records(potential, read_records(samples.path("glycol", "test")).records, 64)
    found: dict[str, dict[str, float]] = {}
    for group in ("300K", "1000K"):
        own = [each for each in predictions if each.record.info["group"] == group]
        forces = 1000 * np.concatenate([(each.forces - each.record.forces).ravel() for each in own])
        energy = 1000 * np.array([(each.energy - each.record.energy) / len(each.record.numbers) for each in own])
        found[group] = {
            "force_mae": float(np.abs(forces).mean()),
            "force_rmse": float(np.sqrt(np.square(forces).mean())),
            "force_p99": float(np.quantile(np.abs(forces), 0.99)),
            "energy_mae": float(np.abs(energy).mean()),
        }
    return found


def folder_of(base: Path, strategy: str, number: int) -> Path:
    """Of a round of a seed; the first is the same for all strategies."""
    return base / strategy / f"round-{number}" if number else base / "start"


def data_of(base: Path, strategy: str, number: int) -> Path:
    """What a round trains on."""
    return folder_of(base, strategy, number) / "train.extxyz" if number else base / "train.extxyz"


def run_round(protocol: Protocol, strategy: str, seed: int, base: Path, number: int) -> None:
    """Choose, train, simulate, judge."""
    folder, data = folder_of(base, strategy, number), data_of(base, strategy, number)
    if (folder / "result.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    own = 1000 * seed + number  # of the random numbers of a round: the same for all strategies
    if number:
        choose(protocol, strategy, own, base, number)
    train(protocol, seed, data, base / "calibrate.extxyz", folder)
    simulate(protocol, own, base / "starts.extxyz", folder)
    frames, times = whole(protocol, base / "starts.extxyz", folder)
    size = len(ase.io.read(data, ":")) - ISOLATED
    row = {"frames": size, "pool": len(frames), "stable_ps": float(np.mean(times)), "times_ps": times}
    row |= errors(folder / "run" / "model.safetensors")
    partial = folder / "result.partial"
    partial.write_text(json.dumps(row, indent=1) + "\n")
    partial.replace(folder / "result.json")
    print(f"seed {seed}, round {number}, {strategy if number else 'all'}: {json.dumps(row)}", flush=True)


def collect(protocol: Protocol, work: Path) -> list[dict[str, Any]]:
    """Results that are there, flat."""
    rows = []
    for number, seed, strategy in product(range(protocol.rounds + 1), range(protocol.seeds), STRATEGIES):
        file = folder_of(work / f"seed-{seed}", strategy, number) / "result.json"
        if file.is_file():
            rows.append({"seed": seed, "strategy": strategy, "round": number} | json.loads(file.read_text()))
    return rows


def main() -> int:
    """Run what is missing, and report what is there."""
    default = Protocol()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--report", type=Path, help="folder for active_learning.md, .json and .png")
    parser.add_argument("--report-only", action="store_true", help="of what is in the work folder")
    for name, value in asdict(default).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"(default: {value})")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    protocol = Protocol(**{name: getattr(arguments, name) for name in asdict(default)})
    if not arguments.report_only:
        for number, seed in product(range(protocol.rounds + 1), range(protocol.seeds)):
            base = arguments.work / f"seed-{seed}"
            prepare(protocol, seed, base)
            for strategy in STRATEGIES:
                run_round(protocol, strategy, seed, base, number)
    from benchmarks.uncertainty.active_learning_report import write_report

    write_report(asdict(protocol), collect(protocol, arguments.work), arguments.report or arguments.work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
