import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from ase import units

from equinet.errors import InputError
from equinet.simulate.analysis.diffusion import diffusion, draw_diffusion
from equinet.simulate.analysis.motion import ATOM_BYTES, MotionRecorder
from tests.simulate.analysis.frames import frame, moved

BOX = np.array([[8.0, 0.0, 0.0], [3.0, 7.0, 0.0], [-2.0, 1.0, 9.0]])
A2_PER_PS = 1e-8


def motion_of(frames):
    recorder = MotionRecorder()
    for each in frames:
        recorder.add(each)
    return recorder.finish()


def walk(coefficient, frames, atoms, dt=0.1, seed=0):
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((frames, atoms, 3)) * np.sqrt(2 * coefficient * dt)
    return np.cumsum(steps, axis=0)


@pytest.mark.parametrize("wrap", [False, True])
def test_unwrapping_gives_the_way_back_less_the_centre_of_mass(wrap):
    way = walk(1.0, 300, 5) + np.arange(300)[:, None, None] * 0.02  # and all drift
    masses = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = motion_of(moved(way, cell=BOX, wrap=wrap, masses=masses))
    relative = way - way[0]
    relative -= np.einsum("tni,n->ti", relative, masses / masses.sum())[:, None]
    np.testing.assert_allclose(found.displacements, relative, atol=1e-4)
    assert found.interval_ps == pytest.approx(0.01)


def test_brownian_coefficient_within_its_error():
    """Walks of forty atoms; taking out the centre of mass leaves 1 - 1/40 of their motion."""
    exact = 0.3 * (1 - 1 / 40)
    misses, errors = [], []
    template = motion_of(moved(walk(0.3, 3, 40), 0.1, BOX))
    for seed in range(80):
        way = walk(0.3, 600, 40, seed=seed)
        way -= way.mean(axis=1, keepdims=True)
        found = diffusion(replace(template, displacements=way)).elements[0]
        assert found.regime == "diffusive"
        errors.append(found.diffusion_error_m2_per_s / A2_PER_PS)
        misses.append((found.diffusion_m2_per_s / A2_PER_PS - exact, found.exponent - 1, found.exponent_error))
    value, exponent, exponent_error = np.array(misses).T
    assert value.std() == pytest.approx(np.mean(errors), rel=0.25)
    assert value.mean() == pytest.approx(0, abs=4 * value.std() / np.sqrt(80))
    assert 0.7 < np.sqrt(np.mean((value / errors) ** 2)) < 1.3
    assert 0.7 < np.sqrt(np.mean((exponent / exponent_error) ** 2)) < 1.3
    assert value.std() < 0.1 * exact


def test_a_breathing_cell_adds_nothing():
    """Fractional positions walk in a cell that swells, and fluctuates by a tenth; far from the origin that is large."""
    scale = 1.2 + 0.1 * np.sin(np.arange(800) / 3.0)
    scale[0] = 1.0
    cells = scale[:, None, None] * BOX
    way = walk(0.3, 800, 40, seed=4) + 40.0
    still = diffusion(motion_of(moved(way, 0.1, BOX))).elements[0]
    breathing = diffusion(motion_of(moved(way * scale[:, None, None], 0.1, cells))).elements[0]
    assert breathing.diffusion_m2_per_s == pytest.approx(np.mean(scale**2) * still.diffusion_m2_per_s, rel=0.02)
    raw = way * scale[:, None, None]
    assert np.mean((raw[1:] - raw[:-1]) ** 2) > 10 * np.mean((way[1:] - way[:-1]) ** 2)  # what naive steps would see


def test_msd_equals_the_sum_over_origins():
    way = walk(0.5, 60, 3)
    found = diffusion(motion_of(moved(way, 0.1, BOX)), fit_ps=(0.1, 0.6))
    relative = way - way.mean(axis=1, keepdims=True)
    for lag, msd in zip(range(1, 7), found.elements[0].msd_angstrom2, strict=True):
        expected = np.mean([np.sum((relative[t + lag] - relative[t]) ** 2, axis=1) for t in range(60 - 6)])
        assert msd == pytest.approx(expected, rel=1e-4)


def test_elements_apart_and_a_solid_is_no_liquid():
    rng = np.random.default_rng(0)
    solid = 0.2 * rng.standard_normal((1500, 30, 3))
    way = np.concatenate([solid, walk(0.4, 1500, 30)], axis=1)
    found = diffusion(motion_of(moved(way, 0.1, 3 * BOX, numbers=[8] * 30 + [14] * 30, masses=[1e6] * 30 + [1.0] * 30)))
    assert found.of("O").regime == "not diffusive"
    assert found.of("O").diffusion_m2_per_s is None
    assert found.of("O").diffusion_below_m2_per_s < 0.01 * A2_PER_PS
    assert found.of("Si").regime == "diffusive"
    assert found.of("Si").diffusion_m2_per_s == pytest.approx(0.4 * A2_PER_PS, rel=0.2)
    draw_diffusion(found)


def test_free_flight_is_superdiffusive():
    speeds = np.random.default_rng(0).standard_normal((20, 3))
    way = np.arange(400)[:, None, None] * 0.05 * speeds
    assert diffusion(motion_of(moved(way, 0.05, 5 * BOX))).elements[0].regime == "superdiffusive"


def test_fixed_atoms_stay_out_and_keep_the_frame():
    way = walk(0.3, 400, 20)
    way[:, :10] = 0.0
    found = diffusion(motion_of(moved(way + 1.0, 0.1, 3 * BOX)))
    assert found.elements[0].atoms == 10
    assert found.elements[0].diffusion_m2_per_s == pytest.approx(0.3 * A2_PER_PS, rel=0.3)


def test_a_slab_counts_its_two_directions():
    way = walk(0.3, 400, 40)
    way[:, :, 2] *= 0
    found = diffusion(motion_of(moved(way, 0.1, np.diag([9.0, 9.0, 30.0]), pbc=[True, True, False])))
    assert found.directions == 2
    assert found.elements[0].diffusion_m2_per_s == pytest.approx(0.3 * A2_PER_PS, rel=0.3)


def test_finite_size_correction_is_yeh_and_hummers():
    way = walk(0.3, 400, 20)
    motion = motion_of(moved(way, 0.1, np.diag([20.0] * 3)))
    found = diffusion(motion, viscosity_mpa_s=0.9, temperature_k=300.0)
    expected = 2.837297 * 1.380649e-23 * 300 / (6 * np.pi * 0.9e-3 * 20e-10)
    assert found.finite_size_m2_per_s == pytest.approx(expected, rel=1e-6)
    each = found.elements[0]
    assert each.corrected_m2_per_s == pytest.approx(each.diffusion_m2_per_s + expected)
    with pytest.raises(InputError, match="temperature"):
        diffusion(motion, viscosity_mpa_s=0.9)
    with pytest.raises(InputError, match="cubic"):
        diffusion(motion_of(moved(way, 0.1, BOX)), viscosity_mpa_s=0.9, temperature_k=300.0)


def test_temperature_is_that_of_the_velocities():
    speeds = np.random.default_rng(0).standard_normal((50, 100, 3))
    speeds -= speeds.mean(axis=1, keepdims=True)
    motion = motion_of(moved(np.zeros((50, 100, 3)) + np.arange(50)[:, None, None] * 1e-3, velocities=speeds, cell=BOX))
    kinetic = 0.5 * 28.0 * np.sum(speeds**2) / 50 / (1000 * units.fs) ** 2
    assert motion.temperature_k == pytest.approx(2 * kinetic / (297 * units.kB), rel=1e-5)


def test_a_jump_over_half_the_cell_is_named():
    way = np.zeros((10, 4, 3))
    way[5:, 2] = np.array([0.45, 0, 0]) @ BOX
    with pytest.raises(InputError, match=r"frame 5: atom 2 moved by 0\.45 of the cell"):
        motion_of(moved(way, cell=BOX))
    motion_of(moved(way, pbc=False))  # without a boundary there is nothing to mistake


def test_times_must_be_known_and_even():
    still = np.zeros((4, 3))
    with pytest.raises(InputError, match="--timestep"):
        motion_of([frame(still, BOX, k) for k in range(5)])
    with pytest.raises(InputError, match=r"frame 3: 0\.5 ps after"):
        motion_of([frame(still, BOX, k, time=t) for k, t in enumerate([0.0, 0.1, 0.2, 0.7, 0.8])])
    short_end = motion_of([frame(still, BOX, k, time=t) for k, t in enumerate([0.0, 0.1, 0.2, 0.3, 0.34])])
    assert len(short_end) == 4


@pytest.mark.parametrize("fit", [(0.0, 1.0), (2.0, 1.0), (1.0, 1.1), (1.0, 90.0)])
def test_bad_windows(fit):
    motion = motion_of(moved(walk(0.3, 100, 3), 0.1, BOX))
    with pytest.raises(InputError, match="--fit"):
        diffusion(motion, fit)


def test_too_few_frames():
    with pytest.raises(InputError, match="too few"):
        diffusion(motion_of(moved(walk(0.3, 30, 3), 0.1, BOX)))


def test_memory_is_what_is_said():
    """Of frames with velocities; numpy tells its allocations to tracemalloc, what the allocator keeps is not seen."""
    atoms, frames = 2000, 150
    positions = np.random.default_rng(0).normal(size=(atoms, 3))
    tracemalloc.start()
    try:
        recorder = MotionRecorder()
        for t in range(frames):
            recorder.add(frame((1 + 0.01 * t) * positions, None, t, velocities=positions, time=0.02 * t, pbc=False))
        diffusion(recorder.finish())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 24 < peak / (atoms * frames) < ATOM_BYTES[True]


def test_what_does_not_fit_is_refused_while_it_is_read():
    recorder = MotionRecorder(memory=1e6)
    frames = [frame(np.zeros((1000, 3)), number=t, time=0.1 * t, pbc=False) for t in range(36)]
    for each in frames[:35]:
        recorder.add(each)
    with pytest.raises(InputError, match=r"^frame 35: .* of 1000 atoms 35 frames fit into the 1 MB .* \(--every, "):
        recorder.add(frames[35])
