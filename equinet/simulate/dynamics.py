"""Molecular dynamics of one structure with any ASE calculator: start, run, watch, and go on after a kill."""

import csv
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from equinet.errors import InputError
from equinet.simulate.checkpoint import checkpoint_path, digest, load_checkpoint, save_checkpoint
from equinet.simulate.energy_drift import Drift, drift
from equinet.simulate.engine import AseEngine
from equinet.simulate.ensembles import Ensemble, EnsembleName
from equinet.simulate.guard import Guard, GuardStop
from equinet.simulate.output import table_writer, trajectory_writer, without_results
from equinet.simulate.propagation import Observation, Propagator, atoms_to_blame
from equinet.simulate.velocities import thermalize
from equinet.simulate.watch import GuardSettings

Array = NDArray[np.float64]

COLUMNS = ("time_ps", "potential_energy_ev", "kinetic_energy_ev", "temperature_k", "volume_a3")
"""Columns of the log."""
PRESSURE = "pressure_gpa"
"""One more, at constant pressure: with the kinetic part, as the barostat sees it."""


class ExplosionError(InputError):
    """The dynamics left all reason: NaN, a temperature beyond belief, a cell that collapses. Names step and atoms."""


@dataclass(frozen=True)
class Simulation:
    """What a run recorded, one value per step, the start included.

    Attributes:
        times: [T] ps.
        potential_energies: [T] eV.
        kinetic_energies: [T] eV.
        temperatures: [T] K, of the degrees of freedom that move (see degrees_of_freedom).
        atoms: the last structure, with velocities and the calculator.
        volumes: [T] Angstrom^3; 0 where there is no cell.
        guard: what a guard saw, in a line; None where there was none.
        pressures: [T] GPa, with the kinetic part; None where the cell is kept.
    """

    times: Array
    potential_energies: Array
    kinetic_energies: Array
    temperatures: Array
    atoms: Atoms
    volumes: Array
    guard: str | None = None
    pressures: Array | None = None

    @property
    def total_energies(self) -> Array:
        """Potential plus kinetic energy, [T] eV."""
        return self.potential_energies + self.kinetic_energies

    def energy_drift(self) -> Drift:
        """Drift of the total energy per atom."""
        return drift(self.times, self.total_energies / len(self.atoms))


def run_md(
    atoms: Atoms,
    calculator: Any,
    *,
    ensemble: EnsembleName,
    timestep: float,
    steps: int,
    temperature: float | None = None,
    output: str | Path | None = None,
    log: str | Path | None = None,
    interval: int = 10,
    on_step: Callable[[int], None] | None = None,
    **constants: Any,
) -> Simulation:
    """Run dynamics: :func:`run_ensemble` with the constants of the ensemble by name.

    Args:
        atoms: the start; not changed.
        calculator: any ASE calculator.
        ensemble: "nve", "nvt" or "npt".
        timestep: fs.
        steps: number of time steps.
        temperature: K; None (nve only): go on with the velocities the atoms have.
        output: see run_ensemble, as the following.
        log: CSV.
        interval: steps between frames.
        on_step: called after every step.
        **constants: thermostat, friction, pressure, seed and others of :class:`equinet.simulate.Ensemble`.

    Raises:
        InputError: as run_ensemble.
    """
    known = {field.name for field in fields(Ensemble)} - {"name", "timestep", "temperature"}
    if unknown := sorted(constants.keys() - known):
        raise InputError(f"{', '.join(unknown)}: no constants of an ensemble; there are {', '.join(sorted(known))}")
    chosen = Ensemble(ensemble, timestep, temperature, **constants)
    return run_ensemble(atoms, calculator, chosen, steps, output=output, log=log, interval=interval, on_step=on_step)


def run_ensemble(
    atoms: Atoms,
    calculator: Any,
    ensemble: Ensemble,
    steps: int,
    *,
    output: str | Path | None = None,
    log: str | Path | None = None,
    interval: int = 10,
    on_step: Callable[[int], None] | None = None,
    checkpoint_interval: int | None = None,
    resume: bool = False,
    made_of: str = "",
    guard: GuardSettings | None = None,
) -> Simulation:
    """Run dynamics of one structure.

    Args:
        atoms: the start; not changed.
        calculator: any ASE calculator.
        ensemble: what is sampled, and how.
        steps: number of time steps.
        output: trajectory, .extxyz or .traj: every `interval` steps velocities, energy and forces. Written
            beside as FILE.partial and renamed at the end, after a failure too: frames are kept.
        log: CSV with one line per step: time, energies, temperature, volume, of npt pressure; written in the same way.
        interval: steps between frames.
        on_step: called after every step with its number.
        checkpoint_interval: steps between checkpoints (OUTPUT.checkpoint, from step 0 on, removed at the end); needs
            output and log.
        resume: go on from the last checkpoint, if there is one: the run is then, bit for bit, one that was never
            stopped. More steps than before may be asked for.
        made_of: names the model; must be the same to go on.
        guard: looks at the calculator's error bars. What it knows is kept in checkpoints; limits may be others when a
            run goes on.

    Raises:
        InputError: arguments that make no sense; what the calculator says of the first structure; to go on with a run
            that has ended.
        GuardStop: the model does not know what it says any more, and the guard was to stop there; that frame is the
            last of the trajectory.
        ExplosionError: NaN, a temperature above HOTTEST, a cell beyond VOLUMES; the last good frame is kept.
        WriteError: no space is left; what was written is kept, and the run can go on.
    """
    if not hasattr(calculator, "get_potential_energy"):
        raise InputError(f"{calculator!r} is no ASE calculator; give one, such as equinet.Calculator(MODEL)")
    for name, count in (("number of steps", steps), ("interval", interval), ("interval", checkpoint_interval)):
        if count is not None and not (isinstance(count, Integral) and count > 0):
            raise InputError(f"a {name} of {count!r} makes no sense; give a whole number, 1 or more")
    output, log = (None if path is None else Path(path) for path in (output, log))
    atoms = without_results(atoms)
    identity = {"structure": digest([atoms]), "model": made_of, "interval": interval, "ensemble": ensemble.settings()}
    atoms.calc = calculator
    ensemble.check(atoms)
    if ensemble.temperature is not None:
        thermalize(atoms, ensemble.temperature, ensemble.seed)
    propagator = Propagator(AseEngine(atoms, ensemble), [atoms], ensemble)
    checkpoint = None
    if checkpoint_interval is not None or resume:
        if output is None or log is None:
            raise InputError("a run that can go on needs a trajectory and a log; name both")
        checkpoint = checkpoint_path(output)
        if checkpoint.is_file() and not resume:
            raise InputError(f"{checkpoint} is of a run that was interrupted; go on with it (--resume), or remove it")
        if resume and output.is_file() and not checkpoint.is_file():
            raise InputError(
                f"{output} is of a run that has ended; leave out --resume to run it anew, or go on from its last frame "
                "with another output"
            )
    at: dict[str, Any] = {"output": 0, "log": 0}
    rows: list[tuple[float, ...]] = []
    if log is not None and checkpoint is not None and checkpoint.is_file():
        at, state = load_checkpoint(checkpoint, identity)
        propagator.restore(state)
        rows = _rows(log, at["log"])
        if len(rows) > steps:
            raise InputError(f"{checkpoint} is at step {len(rows) - 1} already; ask for more than {steps} steps")
    columns = COLUMNS if propagator.barostat is None else (*COLUMNS, PRESSURE)
    observation = propagator.observe()  # raises for a bad first structure, before there is a file
    with (
        trajectory_writer(output, at["output"]) as save,
        table_writer(log, columns, at["log"]) as note,
        nullcontext() if guard is None else Guard(atoms, guard, at.get("guard")) as watch,
    ):
        for step in range(len(rows), steps + 1):
            before = observation
            if step > 0:
                observation = propagator.advance(before)
            if observation.failures:
                if step > 0 and (step - 1) % interval:
                    save(_stamped(propagator, before, step - 1))
                if checkpoint is not None:
                    checkpoint.unlink(missing_ok=True)
                raise _explosion(propagator, before, observation, step)
            seen = (observation.potential, observation.kinetic, observation.temperatures, observation.volumes)
            pressures = () if observation.pressures is None else (observation.pressures,)
            rows.append((step * ensemble.timestep / 1000.0, *(float(values[0]) for values in (*seen, *pressures))))
            note(rows[-1])
            saved = step % interval == 0 or step == steps
            if saved:
                save(_stamped(propagator, observation, step))
            if watch is not None and watch.settings.due(step, steps, interval):
                try:
                    watch(step)
                except GuardStop as stop:
                    if not saved:
                        save(_stamped(propagator, observation, step))
                    if checkpoint is None or not checkpoint.is_file():
                        raise
                    how = f"{stop} and go on with --resume ({checkpoint} is kept for it; remove it to start anew)"
                    raise GuardStop(how, stop.atoms) from None
            if checkpoint_interval is not None and checkpoint is not None and step % checkpoint_interval == 0:
                progress: dict[str, Any] = {"output": save.position, "log": note.position}
                if watch is not None:
                    progress["guard"] = watch.watch.state()
                save_checkpoint(checkpoint, identity, progress, propagator.state())
            if on_step is not None:
                on_step(step)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    times, potential, kinetic, temperatures, volumes, *rest = np.array(rows).T
    seen_by_guard = None if watch is None else watch.summary()
    pressure = rest[0] if rest else None
    return Simulation(times, potential, kinetic, temperatures, atoms, volumes, seen_by_guard, pressure)


def _stamped(propagator: Propagator, observation: Observation, step: int) -> Atoms:
    """The frame of an observation, with step and time (ps)."""
    frame = propagator.engine.frame(0, observation.snapshot)
    frame.info |= {"step": step, "time_ps": step * propagator.ensemble.timestep / 1000.0}
    return frame


def _explosion(propagator: Propagator, before: Observation, now: Observation, step: int) -> ExplosionError:
    frames = [propagator.engine.frame(0, each.snapshot) for each in (before, now)]
    return ExplosionError(
        f"the dynamics exploded at step {step} ({now.failures[0]}; {atoms_to_blame(*frames)}); take a shorter time "
        f"step than {propagator.ensemble.timestep:g} fs, relax the start, or mistrust the model there (the last good "
        "frame is kept)"
    )


def _rows(log: Path, length: int) -> list[tuple[float, ...]]:
    """What an earlier run noted until its checkpoint."""
    partial = log.with_name(log.name + ".partial")
    source = partial if partial.is_file() else log
    try:
        with source.open("rb") as file:
            lines = file.read(length).decode().splitlines()
        return [tuple(map(float, row)) for row in list(csv.reader(lines))[1:]]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {source} to go on with ({error}); start anew without --resume") from None
