from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from scipy.integrate import trapezoid
from scipy.signal import lfilter

from equinet.errors import InputError
from equinet.simulate import run_md
from equinet.simulate.analysis.trajectory import Trajectory
from equinet.simulate.analysis.vibrational_spectrum import draw_vibrational_spectrum, vibrational_spectrum
from tests.simulate.analysis.frames import dioxide, moved, trimer
from tests.simulate.analysis.test_diffusion import BOX, motion_of

DT = 0.002


def oscillators(frequencies, amplitudes, frames=4000, dt=DT, seed=0):
    """Positions and velocities [T, N, 3] of harmonic atoms with phases at random, in pairs that swing oppositely."""
    rng = np.random.default_rng(seed)
    omega = 2 * np.pi * np.repeat(frequencies, 2)[:, None]
    phase = np.repeat(rng.uniform(0, 2 * np.pi, (len(frequencies), 3)), 2, axis=0)
    size = np.repeat(amplitudes, 2)[:, None] * np.tile([1.0, -1.0], len(frequencies))[:, None]
    times = dt * np.arange(frames)[:, None, None]
    return size * np.sin(omega * times + phase), size * omega * np.cos(omega * times + phase)


def spectrum_of(positions, velocities, dt=DT, **more):
    settings = {name: more.pop(name) for name in ("correlation_ps",) if name in more}
    return vibrational_spectrum(motion_of(moved(positions, dt, BOX, velocities=velocities, **more)), **settings)


def test_lines_are_where_the_oscillators_are_with_their_kinetic_energies():
    frequencies, masses = np.array([5.0, 12.0]), np.array([16.0, 28.0])
    amplitudes = 0.1 / frequencies / np.sqrt(masses)  # the same energy in each
    found = spectrum_of(
        *oscillators(frequencies, amplitudes, 2400),
        numbers=[8, 8, 14, 14],
        masses=np.repeat(masses, 2),
        correlation_ps=0.5,
    )
    spacing = found.frequency_thz[1]
    assert found.degrees_of_freedom == 9
    assert trapezoid(found.density_per_thz, found.frequency_thz) == pytest.approx(9)
    np.testing.assert_allclose(np.sort(found.peaks_thz), frequencies, atol=0.05)
    for each, frequency in zip(found.elements, frequencies, strict=True):
        near = abs(found.frequency_thz - frequency) < 3
        assert np.sum(each.density_per_thz[near]) * spacing == pytest.approx(4.5, rel=0.03)
        high = found.frequency_thz[each.density_per_thz > each.density_per_thz.max() / 2]
        assert np.ptp(high) == pytest.approx(found.resolution_thz, abs=2 * spacing)
    expected = np.mean(np.cos(2 * np.pi * frequencies[:, None] * found.time_ps), axis=0)
    np.testing.assert_allclose(found.autocorrelation, expected, atol=0.05)
    assert found.nyquist_thz == pytest.approx(250)
    draw_vibrational_spectrum(found)


def test_autocorrelation_equals_the_sum_over_origins():
    rng = np.random.default_rng(0)
    frames = 128
    velocities = np.cumsum(rng.standard_normal((frames, 3, 3)), axis=0)
    velocities -= velocities.mean(axis=1, keepdims=True)
    positions = np.zeros_like(velocities)
    positions[1:] = np.cumsum((velocities[1:] + velocities[:-1]) / 2 * 0.001, axis=0)
    found = spectrum_of(positions, velocities, 0.001)
    lags = frames // 8
    parts = velocities.reshape(frames // (2 * lags), 2 * lags, 3, 3)
    expected = np.array(
        [np.mean(np.sum(parts[:, k:] * parts[:, : 2 * lags - k], axis=(2, 3))) for k in range(lags + 1)]
    )
    np.testing.assert_allclose(found.autocorrelation, expected / expected[0], atol=1e-5)


def test_error_bars_are_of_independent_runs():
    """Damped noise has a spectrum with a spread; repeated runs scatter as the errors say."""
    densities, errors, at_rest = [], [], []
    template = motion_of(moved(np.ones((3, 8, 3)), 0.002, BOX))
    for seed in range(24):
        noise = np.random.default_rng(seed).standard_normal((800, 8, 3))
        velocities = lfilter([1.0], [1.0, -0.9], noise, axis=0)
        velocities -= velocities.mean(axis=1, keepdims=True)
        positions = np.zeros_like(velocities)
        positions[1:] = np.cumsum((velocities[1:] + velocities[:-1]) / 2 * 0.002, axis=0)
        motion = replace(template, displacements=positions, velocities=velocities, fixed=np.zeros(8, bool))
        found = vibrational_spectrum(motion, correlation_ps=0.05)
        densities.append(found.density_per_thz[:100:8])
        errors.append(found.density_error_per_thz[:100:8])
        at_rest.append(found.density_per_thz[0])
    # sum of a geometric correlation: 4 dof dt (1/2 + 0.9 / (1 - 0.9)), less what the taper takes of it
    taper = np.cos(np.pi / 2 * np.arange(26) / 25) ** 2
    expected = 4 * 21 * 0.002 * (np.sum(taper * 0.9 ** np.arange(26)) - 0.5)
    assert np.mean(at_rest) == pytest.approx(expected, rel=0.05)
    ratio = np.std(densities, axis=0) / np.mean(errors, axis=0)
    assert 0.8 < ratio.mean() < 1.25


def test_fixed_atoms_take_no_part():
    positions, velocities = oscillators(np.array([8.0]), np.array([0.05]), 800)
    positions = np.concatenate([positions, np.ones((800, 1, 3))], axis=1)
    velocities = np.concatenate([velocities, np.zeros((800, 1, 3))], axis=1)
    assert spectrum_of(positions, velocities).degrees_of_freedom == 6


@pytest.mark.parametrize(
    ("atoms", "thermostat", "freedom"),
    [
        (trimer(), "bussi", 3),
        (trimer(), "langevin", 6),
        (dioxide(), "bussi", 4),
        (Atoms("Cu2", [[0, 0, 0], [2.3, 0, 0]]), "bussi", 1),
    ],
    ids=["molecule", "turning", "linear", "dimer"],
)
def test_a_molecule_that_does_not_turn_has_its_vibrations_alone(tmp_path, atoms, thermostat, freedom):
    path, settings = tmp_path / "run.traj", {"thermostat": thermostat, "temperature": 100.0}
    run_md(atoms, atoms.calc or EMT(), ensemble="nvt", timestep=1.0, steps=260, output=path, interval=1, **settings)
    found = vibrational_spectrum(motion_of(Trajectory(path)))
    assert found.degrees_of_freedom == freedom
    assert trapezoid(found.density_per_thz, found.frequency_thz) == pytest.approx(freedom, rel=1e-3)


@pytest.mark.parametrize("every", [15, 21, 30])
def test_frames_too_far_apart_are_refused(every):
    """12 THz every 30, 42 and 60 fs: 0.72, 1.01 and 1.44 of the Nyquist frequency, where it is an alias."""
    positions, velocities = oscillators(np.array([12.0]), np.array([0.05]), 400, DT * every)
    with pytest.raises(InputError, match="Nyquist frequency"):
        spectrum_of(positions, velocities, DT * every)


def test_a_wrong_time_step_or_unit_is_refused():
    positions, velocities = oscillators(np.array([5.0]), np.array([0.05]), 400)
    with pytest.raises(InputError, match="time step"):
        spectrum_of(positions, velocities, 2 * DT)
    with pytest.raises(InputError, match="unit of velocities"):
        spectrum_of(positions, velocities / 10)


def test_what_is_missing_is_named():
    positions, velocities = oscillators(np.array([5.0]), np.array([0.05]), 400)
    with pytest.raises(InputError, match="no velocities"):
        spectrum_of(positions, None)
    with pytest.raises(InputError, match="too few"):
        spectrum_of(positions[:100], velocities[:100])
    with pytest.raises(InputError, match="makes no sense"):
        spectrum_of(positions, velocities, correlation_ps=-1.0)


def test_lines_of_a_cold_crystal_are_those_of_its_hessian(tmp_path):
    """Four atoms of copper know phonons of the zone's boundary alone: two lines, degenerate among nine modes."""
    atoms = bulk("Cu", a=3.59, cubic=True)
    atoms.calc = EMT()
    hessian = np.empty((12, 12))
    for k in range(12):
        forces = []
        for step in (1e-4, -1e-4):
            moved_atoms = atoms.copy()
            moved_atoms.positions.reshape(-1)[k] += step
            moved_atoms.calc = atoms.calc
            forces.append(moved_atoms.get_forces().reshape(-1))
        hessian[k] = (forces[1] - forces[0]) / 2e-4
    squares = np.linalg.eigvalsh((hessian + hessian.T) / 2 / atoms.get_masses()[0])[3:]
    modes = np.sqrt(squares) / (2 * np.pi) * (1000 * units.fs)
    path = tmp_path / "cold.traj"
    run_md(atoms, EMT(), ensemble="nve", timestep=10.0, steps=800, temperature=10.0, output=path, interval=1)
    found = vibrational_spectrum(motion_of(Trajectory(path)), correlation_ps=1.0)
    low, high = modes[:6], modes[6:]
    assert np.ptp(low) < 0.01
    assert np.ptp(high) < 0.01
    np.testing.assert_allclose(np.sort(found.peaks_thz), [low.mean(), high.mean()], atol=0.15)
    assert found.resolution_thz == pytest.approx(1.0)
    assert found.degrees_of_freedom == 9
