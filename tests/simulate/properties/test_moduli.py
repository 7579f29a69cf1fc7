import numpy as np
import pytest

from equinet.errors import InputError
from equinet.simulate.properties.moduli import kelvin_moduli, moduli, young_modulus


def cubic(c11: float, c12: float, c44: float) -> np.ndarray:
    stiffness = np.diag([c11 - c12] * 3 + [c44] * 3).astype(float)
    stiffness[:3, :3] += c12
    return stiffness


def test_isotropic_matter():
    bulk, shear = 100.0, 40.0
    found = moduli(cubic(bulk + 4 / 3 * shear, bulk - 2 / 3 * shear, shear))
    for each in (found.bulk_voigt_gpa, found.bulk_reuss_gpa, found.bulk_hill_gpa):
        assert each == pytest.approx(bulk)
    for each in (found.shear_voigt_gpa, found.shear_reuss_gpa, found.shear_hill_gpa):
        assert each == pytest.approx(shear)
    young = 9 * bulk * shear / (3 * bulk + shear)
    for each in (found.young_hill_gpa, found.young_min_gpa, found.young_max_gpa):
        assert each == pytest.approx(young)
    assert found.poisson_hill == pytest.approx(young / (2 * shear) - 1)
    assert found.universal_anisotropy == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(found.kelvin_moduli_gpa, [2 * shear] * 5 + [3 * bulk])


def test_silicon_as_measured():
    """McSkimin and Andreatch, J. Appl. Phys. 35, 2161 (1964); Young's moduli: Hopcroft et al., JMEMS 19, 229 (2010)."""
    stiffness = cubic(165.7, 63.9, 79.6)
    found = moduli(stiffness)
    assert found.bulk_hill_gpa == pytest.approx(97.8, abs=0.05)
    assert found.shear_voigt_gpa == pytest.approx((165.7 - 63.9 + 3 * 79.6) / 5)
    assert found.shear_reuss_gpa == pytest.approx(5 * 101.8 * 79.6 / (4 * 79.6 + 3 * 101.8))
    assert found.universal_anisotropy == pytest.approx(5 * found.shear_voigt_gpa / found.shear_reuss_gpa - 5)
    directions = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1]]) / np.sqrt([[1], [2], [3]])
    young = young_modulus(np.linalg.inv(stiffness), directions)
    np.testing.assert_allclose(young, [130, 169, 188], atol=0.7)
    assert found.young_min_gpa == pytest.approx(young[0], rel=1e-6)
    assert found.young_max_gpa == pytest.approx(young[2], rel=1e-3)


def test_young_modulus_is_the_compliance_along_the_bar():
    """Of a crystal without symmetry, by the tensor of fourth rank."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    stiffness = root @ root.T + 6 * np.eye(6)
    direction = np.array([0.3, -0.5, 0.81])
    direction /= np.linalg.norm(direction)
    stress = np.outer(direction, direction)
    i, j = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
    strain = np.linalg.solve(stiffness, stress[i, j])
    full = np.zeros((3, 3))
    full[i, j] = full[j, i] = strain / np.array([1, 1, 1, 2, 2, 2])
    elongation = direction @ full @ direction
    assert young_modulus(np.linalg.inv(stiffness), direction) == pytest.approx(1 / elongation)


def test_stability_is_what_born_says():
    assert moduli(cubic(100, 50, 20)).stable
    assert not moduli(cubic(100, 110, 20)).stable  # C11 < C12
    assert not moduli(cubic(100, 50, -1)).stable
    assert kelvin_moduli(cubic(100, -60, 20))[0] == pytest.approx(100 - 2 * 60)


def test_no_resistance_is_one_clear_error():
    with pytest.raises(InputError, match="singular"):
        moduli(cubic(100, 50, 0.0))
