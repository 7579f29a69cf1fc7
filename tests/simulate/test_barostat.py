"""Barostats on cells whose energy is known in closed form: what they sample is the ensemble's."""

import numpy as np
import pytest

from equinet.simulate.barostat import CellRescaling, ShapeRescaling

THERMAL = 0.02
BULK, SHEAR = 8.0, 12.0
"""eV; energies of the volume and of the shape: U = BULK t^2 / 2 + SHEAR tr(d^2) / 2, for log strains e, with t = tr(e)
and d = e - t / 3."""
SYSTEMS, REST, STEPS = 500, 300, 1000


def log_strains(cells):
    """[B, 3, 3] of cells [B, 3, 3] with lattice vectors in rows, against cubes of one Angstrom."""
    values, axes = np.linalg.eigh(cells.swapaxes(1, 2) @ cells)
    return (axes * (0.5 * np.log(values))[:, None, :]) @ axes.swapaxes(1, 2)


def sampled(kind, outside=0.0, shear=SHEAR, start=None):
    """Log strains [SYSTEMS * samples, 3, 3]."""
    rngs = [np.random.default_rng([7, system]) for system in range(SYSTEMS)]
    barostat = kind(outside, THERMAL, 30.0, np.full(SYSTEMS, 1.0 / BULK), rngs)
    cells = np.tile(np.eye(3) if start is None else start, (SYSTEMS, 1, 1))
    found = []
    for step in range(REST + STEPS):
        strains = log_strains(cells)
        volumes = np.abs(np.linalg.det(cells))
        trace = np.trace(strains, axis1=1, axis2=2)[:, None, None] * np.eye(3)
        pressures = -(BULK * trace + shear * (strains - trace / 3)) / volumes[:, None, None]
        deformations = barostat.deformations(pressures, volumes)
        np.testing.assert_allclose(deformations, deformations.swapaxes(1, 2), atol=1e-14)
        cells = cells @ deformations
        if step >= REST and step % 100 == 0:
            found.append(log_strains(cells))
    return np.concatenate(found)


@pytest.mark.parametrize("kind", [CellRescaling, ShapeRescaling])
def test_volumes_are_those_of_the_ensemble(kind):
    """The density of t = ln V is V exp(-(U + P V) / kT): without pressure a Gaussian about kT / BULK."""
    for outside in (0.0, 0.4):
        strains = sampled(kind, outside)
        found = np.trace(strains, axis1=1, axis2=2)
        grid = np.linspace(-0.6, 0.6, 4001)
        weight = np.exp(grid - (0.5 * BULK * grid**2 + outside * np.exp(grid)) / THERMAL)
        weight /= weight.sum()
        mean = (weight * grid).sum()
        width = np.sqrt((weight * (grid - mean) ** 2).sum())
        errors = width / np.sqrt(len(found))
        assert found.mean() == pytest.approx(mean, abs=4 * errors)
        assert found.std() == pytest.approx(width, rel=0.04)
    assert abs(mean) > 20 * errors  # the pressure is seen


def test_shapes_are_those_of_the_ensemble():
    """Five strains without change of volume, each of variance kT / SHEAR; the same in all directions."""
    strains = sampled(ShapeRescaling)
    trace = np.trace(strains, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    shapes = strains - trace / 3
    # the weight of a shape is the product of sinh|e_i - e_j|, of the order of kT / SHEAR from that of flat space
    assert (shapes**2).sum(axis=(1, 2)).mean() == pytest.approx(5 * THERMAL / SHEAR, rel=0.04)
    for i, j in ((0, 1), (1, 2), (0, 2)):
        assert shapes[:, i, j].var() == pytest.approx(THERMAL / SHEAR / 2, rel=0.08)
        assert shapes[:, i, i].var() == pytest.approx(THERMAL / SHEAR * 2 / 3, rel=0.08)
        assert abs(shapes[:, i, j].mean()) < 4 * np.sqrt(THERMAL / SHEAR / 2 / len(shapes))


def test_an_isotropic_barostat_keeps_the_shape():
    start = np.diag([1.1, 1.0, 1 / 1.1])
    strains = sampled(CellRescaling, start=start)
    trace = np.trace(strains, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    expected = np.diag([np.log(1.1), 0.0, -np.log(1.1)])
    np.testing.assert_allclose(strains - trace / 3, np.tile(expected, (len(strains), 1, 1)), atol=1e-12)


def test_no_length_changes_by_more_than_a_tenth_at_once():
    for kind in (CellRescaling, ShapeRescaling):
        barostat = kind(0.0, THERMAL, 1.0, np.ones(2), [np.random.default_rng(0), np.random.default_rng(1)])
        pressures = 1e6 * np.stack([np.eye(3), -np.eye(3)])
        strong, weak = barostat.deformations(pressures, np.ones(2))
        np.testing.assert_allclose(strong, 1.1 * np.eye(3), atol=1e-9)
        np.testing.assert_allclose(weak, 0.9 * np.eye(3), atol=1e-9)
