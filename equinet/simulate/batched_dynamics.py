"""Molecular dynamics of many structures at once with torch-sim: those that explode stop, the rest go on."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from equinet.errors import InputError
from equinet.files import make_folder, replacing
from equinet.simulate.checkpoint import digest, load_checkpoint, save_checkpoint
from equinet.simulate.ensembles import Ensemble
from equinet.simulate.flaws import flaw_of, in_batches
from equinet.simulate.output import without_results
from equinet.simulate.propagation import Observation, Propagator, atoms_to_blame
from equinet.simulate.tally import SystemRun, Tally
from equinet.simulate.torchsim import TorchSimModel
from equinet.simulate.torchsim_engine import TorchSimEngine
from equinet.simulate.trajectory_folder import Form, TrajectoryFolder
from equinet.simulate.velocities import thermalize

CHECKPOINT = "checkpoint.npz"
SUMMARY = "summary.json"


class BatchedDynamics:
    """Many structures in one ensemble.

    Each has velocities and random numbers of its own, which do not depend on the others (but for the Langevin
    thermostat, whose random numbers are torch-sim's and of the batch).

    Args:
        structures: the starts; not changed.
        model: of torch-sim.
        ensemble: what is sampled.
        steps: time steps of each.
        folder: made if it is not there: a trajectory for each structure (INDEX.extxyz or INDEX.h5, positions not
            wrapped), summary.json, and until the end checkpoint.npz.
        form: of the trajectories.
        interval: steps between frames.
        max_atoms: moved at once; None: what `measure` says, or all.
        measure: atoms that may move at once, from the structures that can be used.
        checkpoint_interval: steps between checkpoints.
        made_of: names the model; must be the same to go on.

    Raises:
        InputError: numbers that make no sense.
    """

    def __init__(
        self,
        structures: Sequence[Atoms],
        model: TorchSimModel,
        ensemble: Ensemble,
        steps: int,
        folder: Path,
        *,
        form: Form = "extxyz",
        interval: int = 10,
        max_atoms: int | None = None,
        measure: Callable[[Sequence[Atoms]], int] | None = None,
        checkpoint_interval: int = 1000,
        made_of: str = "",
    ) -> None:
        if min(steps, interval, checkpoint_interval, max_atoms or 1) < 1:
            raise InputError("steps, intervals and atoms at once must be 1 or more")
        self.structures = [without_results(atoms) for atoms in structures]
        self.model, self.ensemble, self.steps, self.folder = model, ensemble, steps, folder
        self.interval, self.checkpoint_interval = interval, checkpoint_interval
        self.trajectories = TrajectoryFolder(folder, form, len(structures))
        self.identity = {
            "structures": digest(self.structures),
            "model": made_of,
            "interval": interval,
            "format": form,
            "number_of_steps": steps,
            "ensemble": ensemble.settings(),
        }
        self._max_atoms, self._measure = max_atoms, measure
        self._ended: dict[int, SystemRun] = {}

    def run(
        self,
        resume: bool = False,
        on_failure: Callable[[SystemRun], None] | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> list[SystemRun]:
        """Run all; how each ended, in order.

        Args:
            resume: go on from the checkpoint in the folder.
            on_failure: told of a structure that is left out or stopped, at once.
            on_step: told the number of steps of systems done so far, of steps times structures.

        Raises:
            InputError: nothing to go on from, or of another run; a folder that cannot be.
            WriteError: no space is left; what was written is kept, and the run can go on.
        """
        self._on_failure, self._on_step = on_failure or (lambda _: None), on_step or (lambda _: None)
        self._make_folder(resume)
        starts = [(index, atoms) for index, atoms in enumerate(self.structures) if self._usable(index, atoms)]
        begin: dict[str, Any] = {"batch": 0, "ended": [], "atoms_at_once": self._max_atoms}
        state = None
        if resume:
            begin, state = load_checkpoint(self.folder / CHECKPOINT, self.identity)
            self._ended |= {each["index"]: SystemRun(**each) for each in begin["ended"]}
        limit = begin["atoms_at_once"]
        if limit is None and starts and self._measure is not None:
            limit = self._measure([atoms for _, atoms in starts])
        self._max_atoms = limit or sum(len(atoms) for _, atoms in starts)
        batches = in_batches(starts, self._max_atoms or 1)
        with torch.random.fork_rng(devices=[self.model.device] if self.model.device.type == "cuda" else []):
            for number in range(begin["batch"], len(batches)):
                going_on = (begin, state) if state is not None and number == begin["batch"] else None
                self._run_batch(number, batches[number], going_on)
        runs = [self._ended[index] for index in range(len(self.structures))]
        with replacing(self.folder / SUMMARY) as partial:
            content = {"ensemble": self.ensemble.settings(), "systems": [asdict(each) for each in runs]}
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return runs

    def _make_folder(self, resume: bool) -> None:
        make_folder(self.folder)
        if not resume and (self.folder / CHECKPOINT).is_file():
            raise InputError(f"{self.folder} has a run that was interrupted; go on with it (--resume), or remove it")
        if not resume:
            self.trajectories.remove(list(range(len(self.structures))))

    def _usable(self, index: int, atoms: Atoms) -> bool:
        flaw = flaw_of(index, atoms, self.model.potential)
        reason = None if flaw is None else flaw.reason
        if reason is None:
            try:
                self.ensemble.check(atoms)
                if atoms.constraints:
                    reason = "it has fixed atoms, which torch-sim cannot keep; run it alone"
            except InputError as error:
                reason = str(error)
        if reason is not None:
            self._fail(SystemRun(index, failure=reason))
        return reason is None

    def _fail(self, run: SystemRun) -> None:
        self._ended[run.index] = run
        self._on_failure(run)

    def _run_batch(
        self, number: int, batch: list[tuple[int, Atoms]], going_on: tuple[dict[str, Any], dict[str, Any]] | None
    ) -> None:
        progress, state = going_on or ({}, None)
        alive = np.array(progress.get("alive", [index for index, _ in batch]))
        structures = [self.structures[index].copy() for index in alive]
        if self.ensemble.temperature is not None:
            for index, atoms in zip(alive, structures, strict=True):
                thermalize(atoms, self.ensemble.temperature, [self.ensemble.seed, 2, int(index)])
        engine = TorchSimEngine(structures, self.model, self.ensemble, stream=batch[0][0])
        propagator = Propagator(engine, structures, self.ensemble, alive.tolist())
        tally = Tally(len(alive))
        begin = 0
        if state is not None:
            propagator.restore(state)
            tally.sums = np.array(progress["tally"])
            begin = progress["step"] + 1
            self.trajectories.cut(progress["files"], progress["sizes"], progress["step"])
        observation = propagator.observe()
        for step in range(begin, self.steps + 1):
            before = observation
            if step > 0:
                observation = propagator.advance(before)
            while observation.failures:
                kept = self._stop(propagator, alive, tally, step, before, observation)
                alive, tally.sums = alive[kept], tally.sums[:, kept]
                if len(alive) == 0:
                    self.trajectories.flush()
                    return
                redo = observation.snapshot is before.snapshot and step > 0
                if redo:
                    engine.back_to(before.snapshot)
                engine.keep(kept)
                propagator.keep(kept)
                observation = propagator.observe()
                if redo:
                    before = observation
                    observation = propagator.advance(before)
            if step % self.interval == 0 or step == self.steps:
                tally.add(step >= self.steps / 2, step * self.ensemble.timestep / 1000, observation, engine.structures)
                for system, index in enumerate(alive):
                    self.trajectories.append(int(index), self._frame(engine, system, observation, step))
            if step % self.checkpoint_interval == 0 and 0 < step < self.steps:
                self._save(number, step, alive, batch, tally, propagator)
            self._on_step(sum(run.steps for run in self._ended.values()) + step * len(alive))
        self.trajectories.flush()
        for system, index in enumerate(alive):
            self._ended[int(index)] = tally.summary(system, int(index), self.steps)

    def _stop(
        self,
        propagator: Propagator,
        alive: NDArray[np.int64],
        tally: Tally,
        step: int,
        before: Observation,
        observation: Observation,
    ) -> NDArray[np.int64]:
        """Note the systems that failed, keep their last good frames, and say which systems are left."""
        engine = propagator.engine
        for system, reason in observation.failures.items():
            index = int(alive[system])
            good, now = (engine.frame(system, each.snapshot) for each in (before, observation))
            if (step - 1) % self.interval and step > 0:
                self.trajectories.append(index, self._frame(engine, system, before, step - 1))
            what = f"exploded at step {step}: {reason}; {atoms_to_blame(good, now)}"
            self._fail(replace(tally.summary(system, index, max(step - 1, 0)), failure=what))
        return np.array([system for system in range(len(alive)) if system not in observation.failures], dtype=np.int64)

    def _frame(self, engine: Any, system: int, observation: Observation, step: int) -> Atoms:
        frame: Atoms = engine.frame(system, observation.snapshot)
        frame.info |= {"step": step, "time_ps": step * self.ensemble.timestep / 1000.0}
        return frame

    def _save(
        self,
        number: int,
        step: int,
        alive: NDArray[np.int64],
        batch: list[tuple[int, Atoms]],
        tally: Tally,
        propagator: Propagator,
    ) -> None:
        self.trajectories.flush()
        files = [index for index, _ in batch]
        progress = {
            "batch": number,
            "atoms_at_once": self._max_atoms,
            "step": step,
            "alive": alive.tolist(),
            "tally": tally.sums.tolist(),
            "files": files,
            "sizes": self.trajectories.sizes(files),
            "ended": [asdict(run) for run in self._ended.values()],
        }
        save_checkpoint(self.folder / CHECKPOINT, self.identity, progress, propagator.state())
