"""Energy is conserved: round closed loops, from one time step to half of it, and over time."""

from typing import Any

import numpy as np
from ase import Atoms, units
from ase.optimize import FIRE

from equinet.errors import InputError
from equinet.simulate.dynamics import drift, run_md
from equinet.simulate.verify.check import Array, Check, Precision, forces_of, judged

TEMPERATURE = 300.0
"""Of the start of the dynamics, K."""


def closed_loop_work(
    calculator: Any,
    atoms: Atoms,
    precision: Precision,
    amplitude: float = 0.05,
    most_points: int = 256,
    seed: int = 0,
) -> Check:
    """The forces do no work round a random smooth closed loop of all atoms.

    The loop has two harmonics in each coordinate; `amplitude` (Angstrom) is about the rms displacement. The
    integral is by the trapezoid rule, which converges faster than any power for a smooth periodic integrand;
    points are doubled from 16 until the last change is under a tenth of the threshold, or `most_points` is
    reached.
    """
    rng = np.random.default_rng(seed)
    waves = rng.standard_normal((2, 2, len(atoms), 3)) * (amplitude / np.sqrt(2))  # [harmonic, sin|cos, N, 3]
    waves[1] /= 2.0

    def power(t: float) -> float:
        place, speed = np.zeros((len(atoms), 3)), np.zeros((len(atoms), 3))
        for k in (1, 2):
            sine, cosine = waves[k - 1]
            place += sine * np.sin(k * t) + cosine * np.cos(k * t)
            speed += k * (sine * np.cos(k * t) - cosine * np.sin(k * t))
        moved = atoms.copy()
        moved.positions += place
        return float(np.sum(forces_of(calculator, moved) * speed))

    points = 16
    values = [power(2 * np.pi * i / points) for i in range(points)]
    work, change = 2 * np.pi * float(np.mean(values)), np.inf
    while points < most_points and not change < 0.1 * precision.loop_work:
        between = [power(2 * np.pi * (i + 0.5) / points) for i in range(points)]
        values += between
        points *= 2
        finer = 2 * np.pi * float(np.mean(values))
        work, change = finer, abs(finer - work)
    there = 2 * np.pi * float(np.mean(np.abs(values)))
    detail = f"{points} points, last change {change:.1e} eV, sum of |work| {there:.2g} eV"
    return judged("work round a closed loop", abs(work), precision.loop_work, "eV", detail)


def energy_fluctuation(calculator: Any, atoms: Atoms, precision: Precision, steps: int = 100, seed: int = 0) -> Check:
    """The fluctuation of the total energy falls 4 times when the time step is halved.

    Velocity Verlet is of order two. Both runs start alike at 300 K, after a short relaxation; the longer
    time step is 0.2 / omega of the stiffest vibration, 2 fs at most, of which there are `steps`.
    """
    name, unit = "energy error is of order dt^2", "off 4"
    start = _relaxed(calculator, atoms)
    omega = stiffest_frequency(calculator, start, precision)
    step = min(2.0, 0.2 / omega)
    coarse = _nve(calculator, start, step, steps, seed)
    fine = _nve(calculator, start, step / 2, 2 * steps, seed)[::2]
    ratio = float(np.std(coarse) / np.std(fine))
    detail = f"ratio {ratio:.3f}, {np.std(coarse):.1e} eV at dt = {step:.2f} fs"
    return judged(name, abs(ratio - 4.0), precision.fluctuation_ratio, unit, detail)


def energy_drift(calculator: Any, atoms: Atoms, precision: Precision, steps: int = 1000, seed: int = 0) -> Check:
    """The total energy has no slope over time: |slope| + standard error, from a 300 K start.

    The time step is 0.1 / omega of the stiffest vibration, 0.5 fs at most; the first fifth is not counted.
    """
    start = _relaxed(calculator, atoms)
    step = min(0.5, 0.1 / stiffest_frequency(calculator, start, precision))
    run = run_md(start, calculator, ensemble="nve", timestep=step, steps=steps, temperature=TEMPERATURE, seed=seed)
    settled = steps // 5
    found = drift(run.times[settled:], run.total_energies[settled:] / len(atoms))
    detail = f"{found.slope:+.1e} +- {found.error:.1e} over {step * steps / 1000:.2g} ps, dt = {step:.2f} fs"
    value = abs(found.slope) + found.error
    return judged("drift of the energy", value, precision.drift, "meV/atom/ps", detail)


def stiffest_frequency(calculator: Any, atoms: Atoms, precision: Precision, iterations: int = 12) -> float:
    """Largest angular frequency of vibrations, 1/fs, by power iteration on the mass-weighted Hessian."""
    root = np.sqrt(atoms.get_masses())[:, None]
    step = precision.displacement * float(np.sqrt(len(atoms)))
    mode = np.random.default_rng(0).standard_normal((len(atoms), 3))
    square = 0.0
    for _ in range(iterations):
        mode /= np.linalg.norm(mode)
        direction = mode / root
        direction /= np.linalg.norm(direction)
        bend = _forces_at(calculator, atoms, -step * direction) - _forces_at(calculator, atoms, step * direction)
        mode = bend / (2 * step) / root * np.linalg.norm(mode / root)
        square = float(np.linalg.norm(mode))
    if not (np.isfinite(square) and square > 0):
        raise InputError("the forces do not change when atoms move; there is no vibration to measure with")
    return float(np.sqrt(square)) * units.fs


def _forces_at(calculator: Any, atoms: Atoms, shift: Array) -> Array:
    moved = atoms.copy()
    moved.positions += shift
    return forces_of(calculator, moved)


def _relaxed(calculator: Any, atoms: Atoms) -> Atoms:
    """A copy moved downhill (at most 30 short steps), so that 300 K stays near 300 K."""
    start = atoms.copy()
    start.calc = calculator
    FIRE(start, maxstep=0.1, logfile=None).run(fmax=0.3, steps=30)
    start.calc = None
    return start


def _nve(calculator: Any, atoms: Atoms, timestep: float, steps: int, seed: int) -> Array:
    """Total energies [steps + 1] of a run with the given time step (fs), eV."""
    run = run_md(
        atoms,
        calculator,
        ensemble="nve",
        timestep=timestep,
        steps=steps,
        temperature=TEMPERATURE,
        seed=seed,
    )
    return run.total_energies
