"""Are the stress labels right in sign and unit? The energies of the same data answer, where they can.

Between two frames of one structure whose fractional coordinates are (nearly) equal, the energy changes by the work
of the stress and of the forces (trapezoidal rule, so the error is of third order):

    dE = 1/2 (tau_1 + tau_2) : strain - 1/2 (F_1 + F_2) . displacement,      tau = volume * stress = -virial

with the logarithmic strain and tau without the rotation between the two cells. Labels that are right give a slope
label / energy of 1, a wrong sign -1, kB 1602 in place of eV/A^3. Where the energies do not decide, the size does: no
solid at ordinary conditions has stresses of eV/A^3.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from equinet.data.columns import columns_of, compositions
from equinet.data.record import Record
from equinet.errors import DataWarning
from equinet.units import EV_PER_A3_IN_GPA

SLOPES = {
    1.0: "right",
    -1.0: "the sign is flipped",
    160.2177: "in GPa, not eV/A^3",
    -160.2177: "in GPa, not eV/A^3, and the sign is flipped",
    1602.177: "in kB, not eV/A^3",
    -1602.177: "in kB, not eV/A^3, and the sign is flipped",
}
"""Slope label / energy and what it means."""

RIGHT = SLOPES[1.0]
NOT_DECIDABLE = "not decidable"

SLOPE_TOLERANCE = 0.15  # relative; the mistakes to tell apart are factors of -1, 160 and 1602
MINIMUM_CORRELATION = 0.7
MINIMUM_PAIRS = 5
FEW_PAIRS = 2  # so many show a known mistake where ...
NEARLY_PERFECT = 0.99  # ... the correlation is at least this: noise would have to hit the factor as well
PLAUSIBLE = 1.0  # eV/A^3, rms of the components
MINIMUM_CHANGE = 1e-4  # eV/atom, rms of the energy differences: what a basis that follows the cell costs in accuracy
SAME_PLACE = 0.06  # Angstrom; largest displacement left after the strain, where forces account for its work
SAME_PLACE_WITHOUT_FORCES = 0.002  # Angstrom
STRAINS = (1e-4, 0.05)  # norm of the strain: above the noise of energies, below strong anharmonicity
MAXIMUM_FRAMES = 300  # of one composition; spread evenly when there are more
MAXIMUM_RECORDS = 10_000  # of larger sets about so many are looked at
MINIMUM_OF_FORMULA = 3  # frames of a formula, in larger sets
MAXIMUM_PAIRS = 2000  # of one cluster of frames with equal fractional coordinates


@dataclass(frozen=True)
class StressCheck:
    """Result of comparing stress labels with energy differences."""

    pairs: int
    slope: float | None  # label / energy; None without pairs
    correlation: float | None
    verdict: str  # a value of SLOPES, NOT_DECIDABLE, or what is odd, or implausible

    @property
    def suspicious(self) -> bool:
        """Whether the labels contradict the energies, or are implausibly large without energies that confirm them."""
        return self.verdict not in (RIGHT, NOT_DECIDABLE)

    def line(self) -> str:
        """Return the result as one line of text."""
        if self.slope is None or self.correlation is None:
            return f"stress against energy: {self.verdict} (no pairs of frames that differ by a strain)"
        return (
            f"stress against energy: {self.verdict} (slope {self.slope:.4g}, correlation {self.correlation:.3f}, "
            f"pairs of frames {self.pairs}; 1 right, -1 flipped, 1602 kB)"
        )


def check_stress(records: Sequence[Record]) -> StressCheck:
    """Test sign and unit of the stress labels against the energies of the same records.

    Args:
        records: any; frames with an energy and a virial and three periodic directions are used.

    Returns:
        The slope (least squares for the energy as the noisy quantity), the correlation, and the verdict. Labels that
        contradict the energies, or are implausibly large where these do not decide, also raise a DataWarning.
        "not decidable" when no frames of one structure differ by a strain, or energies too noisy to tell.
    """
    work, change = [], []
    looked_at = list(_few(records))
    for group in _by_structure(looked_at):
        for cluster in _by_fractional_coordinates(group):
            for first, second in _pairs(cluster):
                result = _work_and_energy(first, second)
                if result is not None:
                    work.append(result[0])
                    change.append(result[1])
    check = _judge(np.array(work), np.array(change))
    size = _rms([record.stress for record in looked_at if record.stress is not None])
    if check.verdict == NOT_DECIDABLE and size > PLAUSIBLE:
        said = (
            f"implausibly large, {size:.4g} eV/A^3 ({size * EV_PER_A3_IN_GPA:.4g} GPa) rms of the components; "
            "labels must be in eV/A^3, and unless pressures are as high as that these are in GPa or kB"
        )
        check = replace(check, verdict=said)
    if check.suspicious:
        warnings.warn(f"stress labels of {len(records)} frames: {check.line()}", DataWarning)
    return check


def _judge(work: NDArray[np.float64], change: NDArray[np.float64]) -> StressCheck:
    """Regress through the origin: both orders of a pair are equally true, so neither side has an offset."""
    pairs = len(work)
    if pairs == 0 or not work.any() or not change.any():
        return StressCheck(pairs, None, None, NOT_DECIDABLE)
    correlation = float(work @ change / np.sqrt((work @ work) * (change @ change)))
    slope = float((work @ work) / (work @ change)) if correlation else None
    noise = np.sqrt(np.mean(change**2)) < MINIMUM_CHANGE or abs(correlation) < MINIMUM_CORRELATION
    if slope is None or noise:
        return StressCheck(pairs, slope, correlation, NOT_DECIDABLE)
    nearest = min(SLOPES, key=lambda known: abs(slope / known - 1.0))
    known = SLOPES[nearest] if abs(slope / nearest - 1.0) < SLOPE_TOLERANCE else None
    if pairs < MINIMUM_PAIRS:
        mistake = known not in (None, RIGHT) and pairs >= FEW_PAIRS and abs(correlation) > NEARLY_PERFECT
        return StressCheck(pairs, slope, correlation, known if known and mistake else NOT_DECIDABLE)
    return StressCheck(pairs, slope, correlation, known or "neither right nor a known mistake of sign or unit")


def _rms(stresses: list[NDArray[np.float64]]) -> float:
    """Root of the mean square of all components."""
    return float(np.sqrt(np.mean(np.square(stresses)))) if stresses else 0.0


def _by_structure(records: Sequence[Record]) -> Iterator[list[Record]]:
    groups: dict[bytes, list[Record]] = {}
    for record in records:
        if record.energy is not None and record.stress is not None:
            groups.setdefault(record.numbers.tobytes(), []).append(record)
    for group in groups.values():
        chosen = np.unique(np.linspace(0, len(group) - 1, min(len(group), MAXIMUM_FRAMES)).round().astype(int))
        yield [group[i] for i in chosen]


def _few(records: Sequence[Record]) -> Iterator[Record]:
    """All records, or MAXIMUM_RECORDS of a larger set: of one formula after the other, spread evenly."""
    if len(records) <= MAXIMUM_RECORDS:
        yield from records
        return
    columns = columns_of(records)
    usable = np.flatnonzero(columns.has_energy & columns.has_stress)
    _, formula = np.unique(compositions(records)[usable], return_inverse=True)
    order = usable[np.argsort(formula, kind="stable")]
    sizes = np.bincount(formula)
    kept = 0
    for members in np.split(order, np.cumsum(sizes)[:-1]):
        chosen = members[np.linspace(0, len(members) - 1, min(len(members), MAXIMUM_FRAMES)).round().astype(int)]
        if len(chosen) < MINIMUM_OF_FORMULA:
            continue  # no pairs to speak of
        yield from (records[int(i)] for i in chosen)
        kept += len(chosen)
        if kept >= MAXIMUM_RECORDS:
            return


def _by_fractional_coordinates(group: list[Record]) -> list[list[Record]]:
    """Cluster frames around the first of its kind: no atom further away than SAME_PLACE once the strain is undone."""
    fractional = np.array([_fractional(record) for record in group])  # [F, N, 3]
    seeds: list[int] = []
    clusters: list[list[Record]] = []
    for i, record in enumerate(group):
        moved = _displacement(fractional[seeds], fractional[i], record.cell)  # [clusters, N, 3]
        near = np.flatnonzero((np.linalg.norm(moved, axis=-1) < SAME_PLACE).all(axis=-1))
        if len(near):
            clusters[near[0]].append(record)
        else:
            seeds.append(i)
            clusters.append([record])
    return [cluster for cluster in clusters if len(cluster) > 1]


def _fractional(record: Record) -> NDArray[np.float64]:
    return np.asarray(np.linalg.solve(record.cell.T, record.positions.T).T)  # [N, 3]


def _displacement(
    before: NDArray[np.float64], after: NDArray[np.float64], cell: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Displacements [..., N, 3] in Angstrom between fractional coordinates: nearest image, no translation."""
    shift = after - before
    shift = shift - shift[..., :1, :]  # an atom as the origin first: a mean of wrapped coordinates means nothing
    shift = shift - np.round(shift)
    shift = shift - shift.mean(axis=-2, keepdims=True)
    return np.asarray(shift @ cell)


def _pairs(cluster: list[Record]) -> Iterator[tuple[Record, Record]]:
    count = len(cluster) * (len(cluster) - 1) // 2
    step = -(-count // MAXIMUM_PAIRS)
    for i, pair in enumerate(combinations(cluster, 2)):
        if i % step == 0:
            yield pair


def _work_and_energy(first: Record, second: Record) -> tuple[float, float] | None:
    """Return work of the stress and the change in energy it must explain, both in eV per atom."""
    assert first.energy is not None
    assert second.energy is not None
    assert first.virial is not None
    assert second.virial is not None
    deformation = np.linalg.solve(first.cell, second.cell)  # [3, 3], x_2 = x_1 @ deformation
    if np.linalg.det(deformation) <= 0:
        return None
    left, stretches, right = np.linalg.svd(deformation)
    rotation = left @ right
    strain = (left * np.log(stretches)) @ left.T  # of the stretch that goes before the rotation
    if not STRAINS[0] < np.linalg.norm(strain) < STRAINS[1]:
        return None
    virial = first.virial + rotation @ second.virial @ rotation.T
    change = second.energy - first.energy
    moved = _displacement(_fractional(first), _fractional(second), first.cell)  # [N, 3]
    if first.forces is None or second.forces is None:
        if np.abs(moved).max() > SAME_PLACE_WITHOUT_FORCES:
            return None
    else:
        change += 0.5 * float(np.sum((first.forces + second.forces @ rotation.T) * moved))
    atoms = len(first.numbers)
    return -0.5 * float(np.sum(virial * strain)) / atoms, change / atoms
