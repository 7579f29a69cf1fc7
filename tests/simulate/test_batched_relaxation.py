"""Relaxation of many structures: ASE's minima, in whatever company."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk as crystal

from equinet.errors import InputError
from equinet.simulate import Calculator, relax, relax_cell
from equinet.simulate.structures import molecule, slab
from equinet.simulate.verify import rattled
from tests.simulate.conftest import small_potential

pytest.importorskip("torch_sim", reason="torch-sim is not installed (the extra 'torchsim')")
from equinet import TorchSimModel
from equinet.simulate.batched_relaxation import (
    Settings,
    relax_in_batches,
    relax_one_by_one,
    why_one_by_one,
)


def crystals():
    cells = [
        crystal("Si", cubic=True),
        crystal("Si"),
        crystal("Si") * (1, 2, 1),
        crystal("Si"),
        crystal("Si", cubic=True),
    ]
    return [rattled(cell, 0.06, seed) for seed, cell in enumerate(cells)]


def in_batches(structures, settings, max_atoms=1000):
    model = TorchSimModel(small_potential())
    sizes = []
    model.register_forward_hook(lambda _, arguments, results: sizes.append(len(results["energy"])))
    ended = list(relax_in_batches(list(enumerate(structures)), model, settings, max_atoms))
    assert sorted(each.index for each in ended) == list(range(len(structures)))
    return sorted(ended, key=lambda each: each.index), [each.index for each in ended], sizes


@pytest.mark.parametrize("max_atoms", [9, 1000])
def test_positions_relax_to_ase_s_minima(max_atoms):
    systems = [*crystals()[1:], slab([14], 3)]
    ended, _, sizes = in_batches(systems, Settings(fmax=1e-3, max_steps=1000), max_atoms)
    assert max(sizes) == (len(systems) if max_atoms == 1000 else 3)
    for start, end in zip(systems, ended, strict=True):
        expected = relax(start, Calculator(small_potential()), fmax=1e-3, max_steps=1000)
        assert expected.converged
        assert end.converged
        assert end.largest_force <= 1e-3
        assert end.atoms.get_potential_energy() == pytest.approx(expected.energy, abs=2e-5)
        assert np.linalg.norm(end.atoms.get_forces(), axis=1).max() == pytest.approx(end.largest_force)
        again = Calculator(small_potential()).get_property("energy", end.atoms)
        assert end.atoms.get_potential_energy() == pytest.approx(again, abs=1e-9)
        assert end.atoms.pbc.tolist() == start.pbc.tolist()
        assert abs(end.steps - expected.steps) <= 0.5 * expected.steps


def test_cells_relax_to_ase_s_minima_too():
    systems = crystals()[1:3]
    ended, _, _ = in_batches(systems, Settings(cell=True, fmax=1e-3, max_steps=1000))
    for start, end in zip(systems, ended, strict=True):
        expected = relax_cell(start, Calculator(small_potential()), fmax=1e-3, max_steps=1000)
        assert end.converged
        assert end.atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-4)
        assert end.atoms.get_volume() == pytest.approx(expected.atoms.get_volume(), rel=1e-3)
        assert abs(end.atoms.get_stress()).max() < 2e-3


def test_those_that_are_done_leave_and_others_enter():
    systems = crystals()[1:]
    at_rest = relax(systems[0], Calculator(small_potential()), fmax=1e-3, max_steps=1000).atoms
    systems[0] = at_rest
    ended, order, _ = in_batches(systems, Settings(fmax=1e-2, max_steps=1000), max_atoms=10)
    assert order[0] == 0
    assert ended[0].steps == 0
    np.testing.assert_array_equal(ended[0].atoms.positions, at_rest.positions)
    assert min(each.steps for each in ended[1:]) > 5


def test_each_has_its_own_number_of_steps():
    ended, _, _ = in_batches(crystals(), Settings(fmax=1e-6, max_steps=7), max_atoms=9)
    assert [each.steps for each in ended] == [7] * 5
    assert not any(each.converged for each in ended)
    assert all(each.failure is None for each in ended)


def test_a_structure_that_falls_apart_is_named_and_the_others_go_on():
    systems = crystals()[1:4]
    systems.insert(1, Atoms("Si2", [[0, 0, 0], [0, 0, 0.3]], cell=[8, 8, 8], pbc=True))
    forces = np.linalg.norm(Calculator(small_potential()).get_property("forces", systems[1]), axis=1).max()
    ended, _, _ = in_batches(systems, Settings(fmax=1e-2, max_steps=500))
    if forces > 1e3:
        assert "left the model's domain at step 0" in ended[1].failure
    assert all(each.converged for each in ended if each.index != 1)


def test_the_model_s_refusal_on_the_way_is_of_one_system(monkeypatch):
    from equinet.simulate.torchsim import TorchSimModel as Model

    whole, systems = Model.forward, crystals()[1:4]

    def forward(self, state, **_):
        for system, count in enumerate(state.n_atoms_per_system.tolist()):
            moved = state.positions[state.system_idx == system].numpy() - systems[1].positions if count == 4 else 0.0
            if np.abs(moved).max() > 0.03:
                raise InputError(f"system {system}: it broke")
        return whole(self, state)

    monkeypatch.setattr(Model, "forward", forward)
    ended, _, _ = in_batches(systems, Settings(fmax=5e-2, max_steps=500))
    assert [each.converged for each in ended] == [True, False, True]
    assert ended[1].failure == f"at step {ended[1].steps + 1}: it broke"
    assert ended[1].steps > 0


def test_no_cell_to_relax():
    systems = [crystals()[0], molecule([14], 1)]
    ended, _, _ = in_batches(systems, Settings(cell=True, fmax=0.05))
    assert ended[0].converged
    assert "cannot relax the cell" in ended[1].failure


class Pulled(TorchSimModel):
    """Systems of two atoms pull their cells together, whatever their volume."""

    def forward(self, state, **more):
        results = super().forward(state, **more)
        two = state.system_idx.bincount() == 2
        results["stress"][two] = torch.eye(3, dtype=results["stress"].dtype)
        results["forces"][two[state.system_idx]] = 0.0
        return results


def test_a_cell_that_collapses_is_left_behind():
    systems = [crystals()[1], crystals()[2]]  # of two atoms and of four
    settings = Settings(cell=True, fmax=0.05, max_steps=300)
    work = relax_in_batches(list(enumerate(systems)), Pulled(small_potential()), settings, 99)
    ended = {each.index: each for each in work}
    assert "the cell collapsed at step" in ended[0].failure
    assert ended[0].atoms == systems[0]
    assert ended[1].converged


def test_one_by_one_is_ase():
    systems = [crystals()[1], crystals()[3], Atoms("SiO", [[0, 0, 0], [0, 0, 1.6]])]
    ended = list(relax_one_by_one(list(enumerate(systems)), small_potential(), Settings(fmax=0.1, optimizer="lbfgs")))
    assert [each.converged for each in ended] == [True, True, False]
    assert "does not know O" in ended[2].failure
    expected = relax(systems[0], Calculator(small_potential()), fmax=0.1, optimizer="lbfgs")
    np.testing.assert_array_equal(ended[0].atoms.positions, expected.atoms.positions)
    assert ended[0].atoms.get_potential_energy() == expected.energy


def test_what_torch_sim_cannot_do_is_said():
    assert why_one_by_one(Settings()) is None
    assert "symmetry" in why_one_by_one(Settings(keep_symmetry=True))
    with pytest.raises(InputError, match="optimizer"):
        Settings(optimizer="magic")
    with pytest.raises(InputError, match="fmax"):
        Settings(fmax=0.0)
