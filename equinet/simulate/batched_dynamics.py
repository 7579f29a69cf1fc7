"""Molecular dynamics of many structures at once with torch-sim: those that explode or are stopped leave the others."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
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
from equinet.simulate.trajectory_folder import SUMMARY, Form, TrajectoryFolder
from equinet.simulate.velocities import thermalize
from equinet.simulate.watch import GuardSettings, Watch

CHECKPOINT = "checkpoint.npz"


@dataclass
class _Batch:
    """Systems that move together.

    Attributes:
        number: of the batch.
        members: numbers of the structures it began with.
        alive: [B] of those that are left.
        propagator: of them.
        tally: of them.
    """

    number: int
    members: list[int]
    alive: NDArray[np.int64]
    propagator: Propagator
    tally: Tally

    @property
    def engine(self) -> TorchSimEngine:
        """What moves them."""
        engine = self.propagator.engine
        assert isinstance(engine, TorchSimEngine)
        return engine

    def keep(self, systems: NDArray[np.int64], back_to: Observation | None = None) -> None:
        """Go on with some, from an earlier observation if one is given."""
        self.alive, self.tally.sums = self.alive[systems], self.tally.sums[:, systems]
        if back_to is not None:
            self.engine.back_to(back_to.snapshot)
        if len(systems):
            self.engine.keep(systems)
            self.propagator.keep(systems)


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
        guard: looks at the error bars of all, of a model with an uncertainty, and ends the dynamics of those alone that
            are beyond its limits. What it knows is kept in checkpoints; limits may be others when a run goes on.
        names: of the structures, in a guard's warnings and frames; None: their numbers.

    Raises:
        InputError: numbers that make no sense; a guard, and a model without uncertainty.
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
        guard: GuardSettings | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        if min(steps, interval, checkpoint_interval, max_atoms or 1) < 1:
            raise InputError("steps, intervals and atoms at once must be 1 or more")
        if guard is not None and model.uncertainty is None:
            raise InputError("a guard needs a model with an uncertainty; make one with equinet uncertainty")
        self.structures = [without_results(atoms) for atoms in structures]
        self.model, self.ensemble, self.steps, self.folder = model, ensemble, steps, folder
        self.interval, self.checkpoint_interval = interval, checkpoint_interval
        self.trajectories = TrajectoryFolder(folder, form, len(structures), ensemble.timestep)
        self.identity = {
            "structures": digest(self.structures),
            "model": made_of,
            "interval": interval,
            "format": form,
            "number_of_steps": steps,
            "ensemble": ensemble.settings(),
        }
        self.guard, self.names = guard, list(names or map(str, range(len(structures))))
        self.watch: Watch | None = None
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
            resume: go on from the checkpoint in the folder, if there is one.
            on_failure: told of a structure that is left out or stopped, at once.
            on_step: told the number of steps of systems done so far, of steps times structures.

        Raises:
            InputError: a checkpoint of another run; a folder of a run that has ended, or that cannot be.
            WriteError: no space is left; what was written is kept, and the run can go on.
        """
        self._on_failure, self._on_step = on_failure or (lambda _: None), on_step or (lambda _: None)
        self._make_folder(resume)
        starts = [(index, atoms) for index, atoms in enumerate(self.structures) if self._usable(index, atoms)]
        begin: dict[str, Any] = {"batch": 0, "ended": [], "atoms_at_once": self._max_atoms}
        state: dict[str, Any] = {}
        going_on = (self.folder / CHECKPOINT).is_file()
        if going_on:
            begin, state = load_checkpoint(self.folder / CHECKPOINT, self.identity)
            self._ended |= {each["index"]: SystemRun(**each) for each in begin["ended"]}
        limit = begin["atoms_at_once"]
        if limit is None and starts and self._measure is not None:
            limit = self._measure([atoms for _, atoms in starts])
        self._max_atoms = limit or sum(len(atoms) for _, atoms in starts)
        batches = in_batches(starts, self._max_atoms or 1)
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        watch = nullcontext() if self.guard is None else Watch(self.guard, self.names, begin.get("guard"))
        with torch.random.fork_rng(devices=devices), watch as self.watch:
            for number in range(begin["batch"], len(batches)):
                if number > begin["batch"] or not going_on:
                    self._save(number, {}, {"engine": {}})
                within = (begin, state) if number == begin["batch"] and "step" in begin else None
                self._run_batch(number, batches[number], within)
        runs = [self._ended[index] for index in range(len(self.structures))]
        with replacing(self.folder / SUMMARY) as partial:
            content = {
                "ensemble": self.ensemble.settings(),
                "format": self.trajectories.form,
                "systems": [asdict(each) for each in runs],
            }
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return runs

    def _make_folder(self, resume: bool) -> None:
        make_folder(self.folder)
        if (self.folder / SUMMARY).is_file():
            raise InputError(f"{self.folder} has a run that has ended; name another folder, or remove it to run anew")
        if not resume and (self.folder / CHECKPOINT).is_file():
            raise InputError(f"{self.folder} has a run that was interrupted; go on with it (--resume), or remove it")

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
            self._end(SystemRun(index, failure=reason))
        return reason is None

    def _end(self, run: SystemRun) -> None:
        record = None if self.watch is None else self.watch.records.get(run.index)
        if record is not None:
            run = replace(run, checks=record.checked, alarms=record.alarms, first_alarm=record.first)
        self._ended[run.index] = run
        if run.failure is not None:
            self._on_failure(run)

    def _begin(
        self, number: int, members: list[int], going_on: tuple[dict[str, Any], dict[str, Any]] | None
    ) -> tuple[_Batch, int]:
        """A batch, and the step that comes next."""
        progress, state = going_on or ({}, None)
        alive = np.array(progress.get("alive", members))
        structures = [self.structures[index].copy() for index in alive]
        if self.ensemble.temperature is not None:
            for index, atoms in zip(alive, structures, strict=True):
                thermalize(atoms, self.ensemble.temperature, [self.ensemble.seed, 2, int(index)])
        engine = TorchSimEngine(structures, self.model, self.ensemble, stream=members[0])
        propagator = Propagator(engine, structures, self.ensemble, alive.tolist())
        batch = _Batch(number, members, alive, propagator, Tally(len(alive)))
        if state is None:
            self.trajectories.remove(members)  # what was written after the last checkpoint, before a kill
            return batch, 0
        propagator.restore(state)
        batch.tally.sums = np.array(progress["tally"])
        self.trajectories.cut(progress["files"], progress["sizes"], progress["step"])
        return batch, progress["step"] + 1

    def _run_batch(
        self, number: int, systems: list[tuple[int, Atoms]], going_on: tuple[dict[str, Any], dict[str, Any]] | None
    ) -> None:
        batch, begin = self._begin(number, [index for index, _ in systems], going_on)
        propagator = batch.propagator
        observation = propagator.observe()
        for step in range(begin, self.steps + 1):
            before = observation
            if step > 0:
                observation = propagator.advance(before)
            while observation.failures:
                self._explode(batch, step, before, observation)
                left = [system for system in range(len(batch.alive)) if system not in observation.failures]
                redo = observation.snapshot is before.snapshot and step > 0
                batch.keep(np.array(left, dtype=np.int64), before if redo else None)
                if not left:
                    break
                observation = propagator.observe()
                if redo:
                    before = observation
                    observation = propagator.advance(before)
            if len(batch.alive):
                saved = step % self.interval == 0 or step == self.steps
                if saved:
                    self._record(batch, observation, step)
                if self._watched(batch, observation, step, saved) and len(batch.alive):
                    observation = propagator.observe()
            if not len(batch.alive):
                break
            if step % self.checkpoint_interval == 0 and 0 < step < self.steps:
                self._save(number, self._progress(batch, step), propagator.state())
            self._on_step(sum(run.steps for run in self._ended.values()) + step * len(batch.alive))
        self.trajectories.flush()
        for system, index in enumerate(batch.alive):
            self._end(batch.tally.summary(system, int(index), self.steps))

    def _record(self, batch: _Batch, observation: Observation, step: int) -> None:
        """A frame of each."""
        engine = batch.engine
        late, time = step >= self.steps / 2, step * self.ensemble.timestep / 1000
        batch.tally.add(late, time, observation, engine.structures)
        for system, index in enumerate(batch.alive):
            self.trajectories.append(int(index), self._frame(engine, system, observation, step))

    def _watched(self, batch: _Batch, observation: Observation, step: int, saved: bool) -> bool:
        """Look at the error bars, if it is time; whether systems left the batch."""
        watch = self.watch
        if watch is None or not watch.settings.due(step, self.steps, self.interval):
            return False
        beyond: dict[int, str] = {}
        for system, bars in enumerate(batch.engine.bars()):

            def frame(system: int = system) -> Atoms:
                return batch.engine.frame(system, observation.snapshot)

            found = watch.look(int(batch.alive[system]), step, bars, frame)
            if found is not None and watch.settings.action == "stop":
                beyond[system] = found
        for system, found in beyond.items():
            index = int(batch.alive[system])
            if not saved:
                self.trajectories.append(index, self._frame(batch.engine, system, observation, step))
            what = f"the guard stopped it at {found}"
            self._end(replace(batch.tally.summary(system, index, step), failure=what))
        if beyond:
            batch.keep(np.array([s for s in range(len(batch.alive)) if s not in beyond], dtype=np.int64))
        return bool(beyond)

    def _explode(self, batch: _Batch, step: int, before: Observation, observation: Observation) -> None:
        """Note the systems that failed, and keep their last good frames."""
        engine = batch.engine
        for system, reason in observation.failures.items():
            index = int(batch.alive[system])
            good, now = (engine.frame(system, each.snapshot) for each in (before, observation))
            if (step - 1) % self.interval and step > 0:
                self.trajectories.append(index, self._frame(engine, system, before, step - 1))
            what = f"exploded at step {step}: {reason}; {atoms_to_blame(good, now)}"
            self._end(replace(batch.tally.summary(system, index, max(step - 1, 0)), failure=what))

    def _frame(self, engine: TorchSimEngine, system: int, observation: Observation, step: int) -> Atoms:
        frame = engine.frame(system, observation.snapshot)
        frame.info |= {"step": step, "time_ps": step * self.ensemble.timestep / 1000.0}
        return frame

    def _progress(self, batch: _Batch, step: int) -> dict[str, Any]:
        self.trajectories.flush()
        return {
            "step": step,
            "alive": batch.alive.tolist(),
            "tally": batch.tally.sums.tolist(),
            "files": batch.members,
            "sizes": self.trajectories.sizes(batch.members),
        }

    def _save(self, number: int, progress: dict[str, Any], state: dict[str, Any]) -> None:
        """A checkpoint at the start of a batch, or in the midst of it."""
        known = {
            "batch": number,
            "atoms_at_once": self._max_atoms,
            "ended": [asdict(run) for run in self._ended.values()],
            "guard": None if self.watch is None else self.watch.state(),
        }
        save_checkpoint(self.folder / CHECKPOINT, self.identity, known | progress, state)
