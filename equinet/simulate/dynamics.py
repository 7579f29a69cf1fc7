"""Molecular dynamics with ASE's integrators: start, run, watch, and measure the drift of the energy."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray

from equinet.errors import InputError
from equinet.simulate.output import table_writer, trajectory_writer, without_results
from equinet.units import MEV_PER_EV

Array = NDArray[np.float64]

HOTTEST = 1e4
"""Temperature that ends a run, K (ten times the temperature asked for, where that is more)."""


COLUMNS = ("time_ps", "potential_energy_ev", "kinetic_energy_ev", "temperature_k")
"""Columns of the log."""


class ExplosionError(InputError):
    """The dynamics left all reason: NaN, or a temperature beyond belief. Names the step."""


@dataclass(frozen=True)
class Simulation:
    """What a run recorded, one value per step, the start included.

    Attributes:
        times: [T] ps.
        potential_energies: [T] eV.
        kinetic_energies: [T] eV.
        temperatures: [T] K, of the degrees of freedom that move (see degrees_of_freedom).
        atoms: the last structure, with velocities and the calculator.
    """

    times: Array
    potential_energies: Array
    kinetic_energies: Array
    temperatures: Array
    atoms: Atoms

    @property
    def total_energies(self) -> Array:
        """Potential plus kinetic energy, [T] eV."""
        return self.potential_energies + self.kinetic_energies

    def energy_drift(self) -> "Drift":
        """Drift of the total energy per atom."""
        return drift(self.times, self.total_energies / len(self.atoms))


@dataclass(frozen=True)
class Drift:
    """Least-squares slope of the total energy per atom and its standard error, both meV/atom/ps."""

    slope: float
    error: float


def drift(times: Array, energies_per_atom: Array) -> Drift:
    """Least-squares slope of energies [T] (eV/atom) over times [T] (ps), with its standard error.

    Successive residuals are correlated, so the textbook error is multiplied by sqrt(2 tau), tau being their
    integrated autocorrelation time in samples, summed until it first turns negative (Sokal, in Functional
    Integration, 1997); never less than the textbook error.

    Raises:
        InputError: fewer than three samples.
    """
    count = len(times)
    if count < 3:
        raise InputError(f"a drift needs three energies at least, there are {count}; run more steps")
    t = times - times.mean()
    e = (energies_per_atom - energies_per_atom.mean()) * MEV_PER_EV
    slope = float(t @ e / (t @ t))
    residuals = e - slope * t
    variance = residuals @ residuals
    textbook = np.sqrt(variance / (count - 2) / (t @ t))
    tau = 0.5
    if variance > 0:
        for lag in range(1, count // 2):
            correlation = residuals[lag:] @ residuals[:-lag] / variance
            if correlation <= 0:
                break
            tau += correlation
    return Drift(slope, float(textbook * np.sqrt(2 * tau)))


def thermalize(atoms: Atoms, temperature: float, seed: int = 0) -> None:
    """Maxwell-Boltzmann velocities in place, scaled to the temperature exactly.

    Total momentum is taken out, and for a molecule rotation. With constraints on the atoms, momenta along
    them vanish and nothing else is taken out.

    Args:
        atoms: changed in place.
        temperature: K.
        seed: of the random numbers.
    """
    masses = atoms.get_masses()[:, None]
    momenta = np.random.default_rng(seed).standard_normal((len(atoms), 3)) * np.sqrt(masses * units.kB * temperature)
    if not atoms.constraints:
        velocities = momenta / masses
        velocities -= momenta.sum(axis=0) / masses.sum()
        if not atoms.pbc.any():
            velocities -= _rigid_rotation(atoms.positions, velocities, masses)
        momenta = velocities * masses
    atoms.set_momenta(momenta)
    freedom = degrees_of_freedom(atoms)
    kinetic = atoms.get_kinetic_energy()
    if freedom == 0 or kinetic == 0.0:
        atoms.set_momenta(np.zeros_like(momenta))
        return
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(0.5 * freedom * units.kB * temperature / kinetic))


def degrees_of_freedom(atoms: Atoms) -> int:
    """Those left without total momentum and, for a molecule, rotation; with constraints: 3N less those."""
    if atoms.constraints:
        return int(atoms.get_number_of_degrees_of_freedom())
    freedom = 3 * len(atoms) - 3
    if not atoms.pbc.any():
        spread = atoms.positions - atoms.positions.mean(axis=0)
        rank = int(np.linalg.matrix_rank(spread, tol=1e-6))
        freedom -= {0: 0, 1: 2}.get(rank, 3)  # a point, a line, or more
    return freedom


def run_md(
    atoms: Atoms,
    calculator: Any,
    *,
    ensemble: Literal["nve", "nvt"],
    timestep: float,
    steps: int,
    temperature: float | None = None,
    friction: float = 0.01,
    seed: int = 0,
    output: Path | None = None,
    log: Path | None = None,
    interval: int = 10,
    on_step: Callable[[int], None] | None = None,
) -> Simulation:
    """Run dynamics: velocity Verlet (nve) or Langevin (nvt; every atom coupled, the centre of mass too).

    Args:
        atoms: the start; not changed.
        calculator: any ASE calculator.
        ensemble: "nve" or "nvt".
        timestep: fs.
        steps: number of time steps.
        temperature: K, of the Maxwell-Boltzmann start and of the bath. None (nve only): go on with the
            velocities the atoms have.
        friction: of the Langevin bath, 1/fs.
        seed: of velocities and bath.
        output: trajectory, .extxyz or .traj: every `interval` steps velocities, energy and forces. Written
            beside as FILE.partial and renamed at the end, after a failure too: frames are kept.
        log: CSV with one line per step: time, energies, temperature; written in the same way.
        interval: steps between frames.
        on_step: called after every step with its number.

    Raises:
        InputError: arguments that make no sense; what the calculator says of the first structure.
        ExplosionError: NaN, or a temperature above HOTTEST; the last good frame is kept.
    """
    _check_arguments(ensemble, timestep, steps, temperature, friction, interval)
    atoms = without_results(atoms)
    atoms.calc = calculator
    if temperature is not None:
        thermalize(atoms, temperature, seed)
    elif not np.any(atoms.get_momenta()):
        raise InputError("the structure has no velocities; give a temperature to draw them from")
    dynamics = _integrator(atoms, ensemble, timestep, temperature, friction, seed)
    freedom = 3 * len(atoms) if ensemble == "nvt" else degrees_of_freedom(atoms)
    hottest = max(HOTTEST, 10 * (temperature or 0.0))
    rows: list[tuple[float, float, float, float]] = []
    good = _frame(atoms, 0, 0.0)  # raises for a bad first structure, before a file is made
    written = -1
    with trajectory_writer(output) as save, table_writer(log, COLUMNS) as note:
        try:
            for _ in dynamics.irun(steps):
                step = dynamics.nsteps
                time = step * timestep / 1000.0
                row = (time, *_observe(atoms, freedom, hottest))
                rows.append(row)
                good = _frame(atoms, step, time)
                note(row)
                if step % interval == 0 or step == steps:
                    save(good)
                    written = step
                if on_step is not None:
                    on_step(step)
        except (InputError, FloatingPointError) as error:
            if written < len(rows) - 1:
                save(good)
            raise ExplosionError(
                f"the dynamics exploded at step {len(rows)} ({error}); take a shorter time step than "
                f"{timestep:g} fs, relax the start, or mistrust the model there (the last good frame is kept)"
            ) from error
    times, potential, kinetic, temperatures = np.array(rows).T
    return Simulation(times, potential, kinetic, temperatures, atoms)


def _integrator(
    atoms: Atoms,
    ensemble: str,
    timestep: float,
    temperature: float | None,
    friction: float,
    seed: int,
) -> MolecularDynamics:
    if ensemble == "nve":
        return VelocityVerlet(atoms, timestep * units.fs)
    return Langevin(
        atoms,
        timestep * units.fs,
        temperature_K=temperature,
        friction=friction / units.fs,
        fixcm=False,
        rng=np.random.default_rng([seed, 1]),
    )


def _observe(atoms: Atoms, freedom: int, hottest: float) -> tuple[float, float, float]:
    """Potential and kinetic energy (eV) and temperature (K) of a step that makes sense.

    Raises:
        FloatingPointError: it does not.
    """
    potential, kinetic = float(atoms.get_potential_energy()), float(atoms.get_kinetic_energy())
    temperature = 2 * kinetic / (freedom * units.kB) if freedom else 0.0
    if not (np.isfinite(potential) and np.isfinite(kinetic) and np.all(np.isfinite(atoms.get_forces()))):
        raise FloatingPointError("energy or forces are not finite")
    if temperature > hottest:
        raise FloatingPointError(f"the temperature is {temperature:.3g} K")
    return potential, kinetic, temperature


def _frame(atoms: Atoms, step: int, time: float) -> Atoms:
    """A copy that stands alone: velocities, energy, forces, stress where there is one, step and time (ps)."""
    atoms.get_forces()
    frame = atoms.copy()
    names = ("energy", "free_energy", "forces", "stress")
    results = {name: atoms.calc.results[name] for name in names if name in atoms.calc.results}
    frame.calc = SinglePointCalculator(frame, **results)
    frame.info |= {"step": step, "time_ps": time}
    return frame


def _rigid_rotation(positions: Array, velocities: Array, masses: Array) -> Array:
    """Velocities [N, 3] of the rigid rotation that carries the whole angular momentum."""
    arms = positions - (masses * positions).sum(axis=0) / masses.sum()
    angular = np.cross(arms, masses * velocities).sum(axis=0)
    squares = np.sum(arms**2, axis=1)
    inertia = np.einsum("n,nij->ij", masses[:, 0], squares[:, None, None] * np.eye(3)) - (masses * arms).T @ arms
    return np.cross(np.linalg.pinv(inertia, rcond=1e-10) @ angular, arms)


def _check_arguments(
    ensemble: str, timestep: float, steps: int, temperature: float | None, friction: float, interval: int
) -> None:
    if ensemble not in ("nve", "nvt"):
        raise InputError(f"unknown ensemble {ensemble!r}; there are nve and nvt")
    if ensemble == "nvt" and (temperature is None or temperature <= 0):
        raise InputError("nvt needs a temperature above 0 K")
    if temperature is not None and not (np.isfinite(temperature) and temperature >= 0):
        raise InputError(f"a temperature of {temperature} K makes no sense; give 0 or more")
    for name, value in (("time step", timestep), ("friction", friction)):
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"a {name} of {value} makes no sense; give a number above 0")
    for name, count in (("number of steps", steps), ("interval", interval)):
        if count < 1:
            raise InputError(f"a {name} of {count} makes no sense; give 1 or more")
