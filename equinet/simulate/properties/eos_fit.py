"""Energies over volumes as an equation of state: Birch and Murnaghan's, or that of Vinet and others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from equinet.errors import InputError
from equinet.units import EV_PER_A3_IN_GPA, MEV_PER_EV

Form = Literal["birch-murnaghan", "vinet"]


@dataclass(frozen=True)
class EosFit:
    """An equation of state with its four numbers.

    Attributes:
        form: "birch-murnaghan" (third order) or "vinet".
        energy_ev: at the minimum.
        volume_a3: there.
        volume_per_atom_a3: there.
        bulk_modulus_gpa: there.
        bulk_modulus_derivative: of the bulk modulus by the pressure, no unit.
        rms_residual_mev_per_atom: of the energies from the curve.
        relative_residual: the same over the largest energy above the minimum.
    """

    form: Form
    energy_ev: float
    volume_a3: float
    volume_per_atom_a3: float
    bulk_modulus_gpa: float
    bulk_modulus_derivative: float
    rms_residual_mev_per_atom: float
    relative_residual: float

    def energies_ev(self, volumes: np.ndarray) -> np.ndarray:
        """Of the curve, at volumes in Angstrom^3."""
        return _ENERGY[self.form](volumes, *self._numbers())

    def pressures_gpa(self, volumes: np.ndarray) -> np.ndarray:
        """-dE/dV of the curve, at volumes in Angstrom^3."""
        _, v0, b0, b1 = self._numbers()
        return _PRESSURE[self.form](volumes, v0, b0, b1) * EV_PER_A3_IN_GPA

    def _numbers(self) -> tuple[float, float, float, float]:
        modulus = self.bulk_modulus_gpa / EV_PER_A3_IN_GPA
        return self.energy_ev, self.volume_a3, modulus, self.bulk_modulus_derivative


def fit_eos(volumes: np.ndarray, energies: np.ndarray, atoms: int, form: Form) -> EosFit:
    """Least squares of the energies.

    Args:
        volumes: [N] Angstrom^3, ascending.
        energies: [N] eV.
        atoms: in the volume.
        form: "birch-murnaghan" (third order: Birch, Phys. Rev. 71, 809 (1947)) or "vinet" (Vinet et al., J. Phys.:
            Condens. Matter 1, 1941 (1989)).

    Raises:
        InputError: an unknown form, fewer than five points, or no minimum between the first volume and the last.
    """
    if form not in _ENERGY:
        raise InputError(f"unknown form {form!r}; there are {' and '.join(_ENERGY)}")
    if len(volumes) < 5:
        raise InputError(f"{len(volumes)} volumes are too few for four numbers; give 5 or more")
    from scipy.optimize import curve_fit

    lowest = int(np.argmin(energies))
    outside = InputError(
        f"no minimum of the energy between {volumes[0]:.4g} and {volumes[-1]:.4g} A^3 (the lowest is at "
        f"{volumes[lowest]:.4g}); relax the cell first (--relax cell), or give a wider --range"
    )
    if lowest in (0, len(volumes) - 1):
        raise outside
    above = energies - energies[lowest]  # total energies may be 1e5 times larger than what is fitted
    curvature = max(np.polyfit(volumes - volumes[lowest], above, 2)[0], 1e-6)
    start = (0.0, volumes[lowest], 2 * curvature * volumes[lowest], 4.0)
    try:
        (e0, v0, b0, b1), _ = curve_fit(_ENERGY[form], volumes, above, start, maxfev=10_000)
    except RuntimeError:
        raise InputError(f"the energies follow no {form} curve; look at them in the range of small strains") from None
    if not (volumes[0] < v0 < volumes[-1] and b0 > 0):
        raise outside
    residual = float(np.sqrt(np.mean((_ENERGY[form](volumes, e0, v0, b0, b1) - above) ** 2)))
    return EosFit(
        form=form,
        energy_ev=float(e0 + energies[lowest]),
        volume_a3=float(v0),
        volume_per_atom_a3=float(v0 / atoms),
        bulk_modulus_gpa=float(b0 * EV_PER_A3_IN_GPA),
        bulk_modulus_derivative=float(b1),
        rms_residual_mev_per_atom=residual * MEV_PER_EV / atoms,
        relative_residual=residual / float(above.max()),
    )


def _birch_murnaghan_energy(volume: np.ndarray, e0: float, v0: float, b0: float, b1: float) -> np.ndarray:
    u = np.cbrt(v0 / volume) ** 2 - 1
    return e0 + 9 / 16 * v0 * b0 * (2 * u**2 + (b1 - 4) * u**3)


def _birch_murnaghan_pressure(volume: np.ndarray, v0: float, b0: float, b1: float) -> np.ndarray:
    x = np.cbrt(v0 / volume)
    return 1.5 * b0 * (x**7 - x**5) * (1 + 0.75 * (b1 - 4) * (x**2 - 1))


def _vinet_energy(volume: np.ndarray, e0: float, v0: float, b0: float, b1: float) -> np.ndarray:
    eta = 1.5 * (b1 - 1)
    y = eta * (1 - np.cbrt(volume / v0))
    return e0 + 9 * v0 * b0 / eta**2 * (1 - (1 - y) * np.exp(y))


def _vinet_pressure(volume: np.ndarray, v0: float, b0: float, b1: float) -> np.ndarray:
    x = np.cbrt(volume / v0)
    return 3 * b0 * (1 - x) / x**2 * np.exp(1.5 * (b1 - 1) * (1 - x))


_ENERGY: dict[str, Callable[..., np.ndarray]] = {
    "birch-murnaghan": _birch_murnaghan_energy,
    "vinet": _vinet_energy,
}
_PRESSURE: dict[str, Callable[..., np.ndarray]] = {
    "birch-murnaghan": _birch_murnaghan_pressure,
    "vinet": _vinet_pressure,
}
