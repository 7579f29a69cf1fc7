"""Reference energies of new data: fitted to E_label - E_parent, refused where the data leave them open; replay."""

import numpy as np
import pytest

from equinet.data import FrameWeights, Record, draw_replay, fit_energy_shift, mark, shift_labels
from equinet.errors import InputError

H, O, NA, CL, SI = 1, 8, 11, 17, 14
WATER = [[O, H, H]]
RANDOM = np.random.default_rng(0)


def record(numbers, energy=None, **more) -> Record:
    positions = 2.0 * np.arange(3 * len(numbers)).reshape(-1, 3)
    return Record(numbers=numbers, positions=positions, cell=np.zeros((3, 3)), pbc=False, energy=energy, **more)


def labelled(compositions, shift, noise=0.0):
    """Records, and the parent's energies that labels differ from by a shift for each element."""
    parent = [-7.0 * len(numbers) + float(RANDOM.normal()) for numbers in compositions]
    labels = [
        energy + sum(shift[z] for z in numbers) + noise * len(numbers) * float(RANDOM.normal())
        for energy, numbers in zip(parent, compositions, strict=True)
    ]
    return [record(numbers, energy) for numbers, energy in zip(compositions, labels, strict=True)], parent


def test_a_shift_for_each_element_is_recovered():
    shift = {H: 1.25, O: -431.7, SI: 0.003}
    records, parent = labelled([[H, H], [O, O], [O, H, H], [SI, O, O], [SI, SI, H]], shift)
    fit = fit_energy_shift([*records, record([H, O])], [*parent, 99.0])  # the last has no label
    assert fit.isolated == pytest.approx(shift, abs=1e-6)
    assert fit.bound == {}
    assert fit.total == fit.isolated
    assert fit.frames == 5
    assert fit.rms_before > 100
    assert fit.rms_after < 1e-6
    assert fit.of(np.array([O, H, H, 92])) == pytest.approx(-431.7 + 2.5, abs=1e-5)  # uranium keeps its own
    # never to the raw energies, which hold 7 eV of binding an atom
    assert "H +1.2500, O -431.7000, Si +0.0030 eV; its rms: " in fit.describe()[0]
    assert fit.describe()[0].endswith("-> 0.0 meV/atom")


def test_the_residual_is_what_the_shifts_leave():
    records, parent = labelled([[SI] * n for n in range(2, 60)], {SI: 2.0}, noise=0.01)
    fit = fit_energy_shift(records, parent)
    difference = [(r.energy - e) / len(r.numbers) for r, e in zip(records, parent, strict=True)]
    assert fit.isolated[SI] == pytest.approx(np.mean(difference), abs=1e-9)
    assert fit.rms_before == pytest.approx(np.sqrt(np.mean(np.square(difference))), rel=1e-9)
    assert fit.rms_after == pytest.approx(np.std(difference), rel=1e-9)


def test_elements_that_the_compositions_do_not_tell_apart_are_refused():
    records, parent = labelled(WATER * 3 + [[O, H, H] * 4], {O: -1.0, H: 0.5})
    with pytest.raises(
        InputError, match=r"the data hold H and O in proportions .* add structures of other compositions"
    ):
        fit_energy_shift(records, parent)
    # silicon is told apart from the rest, the pairs are not
    more, energies = labelled([[NA, CL], [SI, SI], [SI, O, H, H]], {NA: 1.0, CL: 2.0, SI: 3.0, O: -1.0, H: 0.5})
    with pytest.raises(InputError, match="the data hold H and O; Na and Cl in proportions"):
        fit_energy_shift(records + more, parent + energies)
    with pytest.raises(InputError, match="or isolated atoms"):
        fit_energy_shift(records, parent, {H: 0.0, O: 0.0})


def test_the_smallest_shifts_on_request():
    records, parent = labelled(WATER * 3, {O: -1.0, H: 0.5, SI: 3.0})
    more, energies = labelled([[SI, SI]], {SI: 3.0})
    fit = fit_energy_shift(records + more, parent + energies, deficient="minimal")
    assert fit.isolated[SI] == pytest.approx(3.0, abs=1e-6)
    assert fit.of(np.array([O, H, H])) == pytest.approx(0.0, abs=1e-6)  # -1 + 2 * 0.5
    assert fit.undetermined == ((H, O),)
    assert "of H and O only the sum is known" in fit.describe()[1]
    records, parent = labelled(WATER * 3, {O: 3.0, H: 0.0})
    fit = fit_energy_shift(records, parent, deficient="minimal")
    # of all (x, y) with 2 x + y = 3, the smallest
    assert [fit.isolated[H], fit.isolated[O]] == pytest.approx([1.2, 0.6], abs=1e-6)
    assert fit.rms_after < 1e-6


def test_isolated_atoms_give_e0_where_the_parent_keeps_to_it():
    records, parent = labelled(WATER * 2, {O: -1.0, H: 0.5})
    alone = [record([H], -13.6), record([O], -432.0), record([CL], -1.0)]
    own = {H: -12.6, O: -430.0, CL: 0.0}
    fit = fit_energy_shift(records + alone, [*parent, 0.0, 0.0, 0.0], own)
    assert fit.isolated == pytest.approx({H: -1.0, O: -2.0})
    # bound, a molecule shifts by what the labels say
    assert fit.total[O] + 2 * fit.total[H] == pytest.approx(0.0, abs=1e-6)
    assert fit.bound[H] == pytest.approx(fit.total[H] + 1.0)
    assert fit.undetermined == ()
    # a parent that extrapolates to an isolated atom learns nothing from it
    fit = fit_energy_shift(records + alone, [*parent, 0.0, 0.0, 0.0], deficient="minimal")
    assert fit.ignored_isolated == 3
    assert fit.frames == 2
    assert "3 frames of isolated atoms left out" in fit.describe()[-1]


def test_without_energies_there_is_nothing_to_fit():
    with pytest.raises(InputError, match="no frame has an energy to fit E0 to"):
        fit_energy_shift([record([H, H])], [0.0])


def test_replay_is_drawn_once_and_marked():
    records = [record([SI] * (n + 2), float(n), info={"weight": 0.5}) for n in range(20)] + [record([H], -1.0)]
    drawn = draw_replay(records, 6, 1, seed=3)
    assert drawn == draw_replay(records, 6, 1, seed=3)
    assert drawn != draw_replay(records, 6, 1, seed=4)
    assert set(drawn) < set(draw_replay(records, 7, 1, seed=3))
    assert len(draw_replay(records, 20, 1, seed=0)) == 20  # never an isolated atom
    assert len(draw_replay(records, 6, 2, seed=3)) == 12
    assert len(draw_replay(records, 6, 9, seed=3)) == 20  # as often as there are enough
    with pytest.raises(InputError, match=r"21 structures are to be replayed, but there are 20; give a lower .*ratio"):
        draw_replay(records, 21, 1, seed=0)
    (marked,) = mark(drawn[:1], "original", 0.2, modal="PBE")
    assert marked.info == {"weight": 0.5, "replay_weight": 0.2, "data_set": "original", "modal": "PBE"}
    assert drawn[0].info == {"weight": 0.5}
    assert FrameWeights().of(marked) == 0.2
    assert FrameWeights(key="weight").of(marked) == pytest.approx(0.1)


def test_labels_of_the_original_data_are_shifted_as_the_potential_is():
    records, parent = labelled([[SI, SI], [O, O]], {SI: 3.0, O: 1.0})
    shifted, unlabelled = shift_labels([record([SI, O, H], -5.0), record([SI, O])], fit_energy_shift(records, parent))
    assert shifted.energy == pytest.approx(-1.0, abs=1e-6)
    assert unlabelled.energy is None
