"""Sign and unit of stress labels, on crystals whose energy is known and on published data."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from scipy.spatial.transform import Rotation

from equinet.data import Record, check_stress, read_records
from equinet.errors import DataWarning

KBAR = 1602.176634
GPA = KBAR / 10.0


def strained(calculator, crystal, seed=0, count=8, strain=0.003, rattle=0.0, rotate=True):
    """The same crystal under random strains, rotated at random, atoms wrapped and displaced a little."""
    rng = np.random.default_rng(seed)
    records = []
    for _ in range(count):
        atoms = crystal.copy()
        deformation = np.eye(3) + strain * rng.normal(size=(3, 3))
        if rotate:
            deformation = deformation @ Rotation.random(random_state=int(rng.integers(1000))).as_matrix()
        atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
        atoms.positions += rattle * rng.normal(size=(len(atoms), 3)) + rng.normal(size=3)
        atoms.wrap()
        atoms.calc = calculator
        records.append(
            Record(
                numbers=atoms.numbers,
                positions=atoms.positions,
                cell=atoms.cell.array,
                pbc=atoms.pbc,
                energy=atoms.get_potential_energy(),
                forces=atoms.get_forces(),
                virial=-atoms.get_volume() * atoms.get_stress(voigt=False),
            )
        )
    return records


@pytest.fixture(scope="module")
def copper():
    return strained(EMT(), bulk("Cu", cubic=True) * (2, 1, 1))


def scaled(records, factor):
    return [replace(record, virial=factor * record.virial) for record in records]


def test_right_labels(copper):
    check = check_stress(copper)
    assert check.verdict == "right"
    assert check.slope == pytest.approx(1.0, abs=0.02)
    assert check.correlation > 0.99
    assert check.pairs == 8 * 7 // 2
    assert not check.suspicious
    assert "right (slope" in check.line()


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (-1.0, "the sign is flipped"),
        (KBAR, "in kB, not eV/A^3"),
        (-KBAR, "in kB, not eV/A^3, and the sign is flipped"),
        (GPA, "in GPa, not eV/A^3"),
        (7.0, "neither right nor a known mistake of sign or unit"),
    ],
)
def test_wrong_labels(copper, factor, verdict):
    with pytest.warns(DataWarning, match="stress labels of 8 frames"):
        check = check_stress(scaled(copper, factor))
    assert check.verdict == verdict
    assert check.slope == pytest.approx(factor, rel=0.02)
    assert check.suspicious


@pytest.mark.parametrize(
    ("factor", "verdict"), [(-1.0, "the sign is flipped"), (-KBAR, "in kB, not eV/A^3, and the sign is flipped")]
)
def test_a_known_mistake_shows_in_few_pairs(copper, factor, verdict):
    assert check_stress(copper[:3]).verdict == "not decidable"  # three pairs do not show that labels are right
    with pytest.warns(DataWarning, match="stress labels of 3 frames"):
        check = check_stress(scaled(copper[:3], factor))
    assert (check.pairs, check.verdict) == (3, verdict)


def test_few_pairs_of_noise_show_nothing(copper):
    """Of 3 frames with random energies hardly any must look like a mistake."""
    rng = np.random.default_rng(3)
    frames = [[replace(r, energy=float(0.05 * rng.normal())) for r in copper[:3]] for _ in range(300)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        assert sum(check_stress(records).suspicious for records in frames) <= 3


@pytest.mark.parametrize("factor", [KBAR, -KBAR, GPA])
def test_implausibly_large(copper, factor):
    with pytest.warns(DataWarning, match=r"implausibly large, .* eV/A\^3 .* labels must be in eV/A\^3"):
        check = check_stress(scaled(copper[:1], factor))
    assert check.suspicious
    rms = np.sqrt(np.mean(np.square(factor * copper[0].stress)))
    assert f"{rms:.4g} eV/A^3" in check.line()


def test_large_stresses_that_the_energies_confirm_are_right():
    dense = strained(EMT(), bulk("Cu", a=2.4, cubic=True), count=6)  # some 200 GPa and more
    assert np.sqrt(np.mean([np.square(record.stress) for record in dense])) > 1.0
    assert check_stress(dense).verdict == "right"


def test_forces_account_for_small_displacements():
    crystal = bulk("Cu", cubic=True) * (2, 1, 1)
    records = strained(EMT(), crystal, rattle=0.004)
    with_forces = check_stress(records)
    assert with_forces.slope == pytest.approx(1.0, abs=0.02)
    without = check_stress([replace(record, forces=None) for record in records])
    assert without.pairs == 0


def test_volume_series():
    records = []
    for scale in np.linspace(0.997, 1.003, 6):
        crystal = bulk("Ar", a=4.9 * scale, cubic=True)
        calculator = LennardJones(sigma=3.4, epsilon=0.0104, rc=9.0, smooth=True)
        records += strained(calculator, crystal, count=1, strain=0.0, rotate=False)
    check = check_stress(records)
    assert check.verdict == "right"
    assert check.slope == pytest.approx(1.0, abs=0.001)


def test_not_decidable(copper):
    molecule = replace(copper[0], pbc=np.zeros(3, dtype=bool))
    for records in ([], copper[:1], [copper[0]] * 5, [molecule] * 5):
        check = check_stress(records)
        assert (check.verdict, check.pairs, check.suspicious) == ("not decidable", 0, False)
        assert check.slope is None
        assert "not decidable" in check.line()


def test_noise_is_not_decidable(copper):
    rng = np.random.default_rng(1)
    noisy = [replace(record, energy=float(rng.normal())) for record in copper]
    assert check_stress(noisy).verdict == "not decidable"
    still = [replace(r, energy=1e-4 * r.energy, virial=-1e-4 * r.virial) for r in copper]
    assert check_stress(still).verdict == "not decidable"


def test_different_structures_are_not_paired(copper):
    shuffled = np.random.default_rng(2)
    moved = [replace(r, positions=r.positions + shuffled.normal(size=r.positions.shape)) for r in copper]
    assert check_stress(moved).pairs == 0


@pytest.mark.parametrize(("folder", "slope"), [("mlearn_Mo", 1.003), ("mlearn_Si", 1.000), ("mlearn_Ge", 0.992)])
def test_published_data(shared_data, folder, slope):
    """Slopes from the data's own notes; they are energy per label, ours is label per energy: within 1 % the same."""
    records = read_records(shared_data / folder / "train.extxyz")
    check = check_stress(records)
    assert check.verdict == "right"
    assert 1.0 / check.slope == pytest.approx(slope, abs=0.01)
    assert check.correlation > 0.99
    with pytest.warns(DataWarning, match="the sign is flipped"):
        check_stress(scaled(records, -1.0))


def test_data_without_strain_pairs(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        records = read_records(shared_data / "universal_mattersim_bench" / "mpf_alkali_TP.extxyz")
        assert check_stress(records).verdict == "not decidable"
