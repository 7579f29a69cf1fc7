"""What follows from an elastic tensor: averages, anisotropy, stability, Young's modulus in each direction.

6 x 6 matrices are in Voigt's order xx yy zz yz xz xy; shear strains are twice the tensor's.
"""

from dataclasses import dataclass

import numpy as np

from equinet.errors import InputError


@dataclass(frozen=True)
class Moduli:
    """Of a polycrystal, by Voigt (equal strain, upper bound), Reuss (equal stress, lower) and Hill (their mean).

    Attributes:
        bulk_voigt_gpa: and so on: the averages (Hill, Proc. Phys. Soc. A 65, 349 (1952)).
        young_hill_gpa: of Hill's bulk and shear moduli.
        poisson_hill: of the same, no unit.
        universal_anisotropy: 5 G_V / G_R + K_V / K_R - 6, 0 for an isotropic crystal (Ranganathan and
            Ostoja-Starzewski, Phys. Rev. Lett. 101, 055504 (2008)).
        kelvin_moduli_gpa: [6] ascending: eigenvalues of the tensor as a map of strains, the same in all axes.
        stable: whether all are positive, Born's criterion for a crystal without load (Mouhat and Coudert, Phys. Rev.
            B 90, 224104 (2014)). If not, Reuss and Hill mean nothing.
        young_min_gpa: over all directions, to 0.1 %.
        young_max_gpa: likewise.
    """

    bulk_voigt_gpa: float
    bulk_reuss_gpa: float
    bulk_hill_gpa: float
    shear_voigt_gpa: float
    shear_reuss_gpa: float
    shear_hill_gpa: float
    young_hill_gpa: float
    poisson_hill: float
    universal_anisotropy: float
    kelvin_moduli_gpa: np.ndarray
    stable: bool
    young_min_gpa: float
    young_max_gpa: float


def moduli(stiffness: np.ndarray) -> Moduli:
    """Of a symmetric stiffness, [6, 6] GPa.

    Raises:
        InputError: it cannot be inverted: the crystal does not resist some strain.
    """
    try:
        compliance = np.linalg.inv(stiffness)
    except np.linalg.LinAlgError:
        raise InputError("the elastic tensor is singular: the crystal does not resist some strain; no moduli") from None
    c, s = stiffness, compliance
    bulk_voigt = float(c[:3, :3].sum() / 9)
    bulk_reuss = float(1 / s[:3, :3].sum())
    shear_voigt = float((np.trace(c[:3, :3]) - c[0, 1] - c[0, 2] - c[1, 2] + 3 * np.trace(c[3:, 3:])) / 15)
    shear_reuss = float(15 / (4 * (np.trace(s[:3, :3]) - s[0, 1] - s[0, 2] - s[1, 2]) + 3 * np.trace(s[3:, 3:])))
    bulk, shear = (bulk_voigt + bulk_reuss) / 2, (shear_voigt + shear_reuss) / 2
    kelvin = kelvin_moduli(c)
    theta, phi = np.meshgrid(np.radians(np.arange(0, 91)), np.radians(np.arange(0, 360)), indexing="ij")
    directions = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1)
    young = young_modulus(s, directions)
    return Moduli(
        bulk_voigt_gpa=bulk_voigt,
        bulk_reuss_gpa=bulk_reuss,
        bulk_hill_gpa=bulk,
        shear_voigt_gpa=shear_voigt,
        shear_reuss_gpa=shear_reuss,
        shear_hill_gpa=shear,
        young_hill_gpa=9 * bulk * shear / (3 * bulk + shear),
        poisson_hill=(3 * bulk - 2 * shear) / (2 * (3 * bulk + shear)),
        universal_anisotropy=5 * shear_voigt / shear_reuss + bulk_voigt / bulk_reuss - 6,
        kelvin_moduli_gpa=kelvin,
        stable=bool(kelvin[0] > 0),
        young_min_gpa=float(young.min()),
        young_max_gpa=float(young.max()),
    )


def kelvin_moduli(stiffness: np.ndarray) -> np.ndarray:
    """Eigenvalues of a stiffness, ascending, of the matrix whose shears count as much as in the tensor."""
    weights = np.sqrt([1, 1, 1, 2, 2, 2])
    return np.linalg.eigvalsh(stiffness * np.outer(weights, weights))


def young_modulus(compliance: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Stress over strain of a bar that is pulled along each direction.

    Args:
        compliance: [6, 6] 1/GPa.
        directions: [..., 3] unit vectors.

    Returns:
        [...] GPa.
    """
    x, y, z = np.moveaxis(directions, -1, 0)
    pull = np.stack([x * x, y * y, z * z, y * z, x * z, x * y], axis=-1)
    return 1 / np.einsum("...i,ij,...j->...", pull, compliance, pull)
