import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk as crystal
from ase.calculators.calculator import Calculator as ASECalculator
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from equinet.errors import InputError
from equinet.simulate import Calculator, relax, relax_cell
from equinet.simulate.structures import molecule, slab
from equinet.simulate.verify import rattled


@pytest.mark.parametrize("optimizer", ["fire", "bfgs"])
def test_positions_relax_to_the_crystal(optimizer):
    perfect = crystal("Cu", cubic=True, a=3.7) * (2, 2, 2)
    start = rattled(perfect)
    steps = []
    found = relax(start, EMT(), fmax=1e-3, optimizer=optimizer, on_step=lambda step, force: steps.append((step, force)))
    assert found.converged
    assert found.largest_force <= 1e-3
    assert steps[-1] == (found.steps, found.largest_force)
    assert found.energy < EMT().get_property("energy", start)
    assert found.energy == pytest.approx(EMT().get_property("energy", perfect), abs=1e-4)
    np.testing.assert_array_equal(found.atoms.cell, start.cell)
    assert start.calc is None


def test_cell_relaxes_to_zero_stress():
    found = relax_cell(rattled(crystal("Cu", cubic=True, a=3.8)), EMT(), fmax=1e-4)
    assert found.converged
    assert found.atoms.get_volume() ** (1 / 3) == pytest.approx(3.59, abs=0.02)
    assert np.abs(found.atoms.get_stress()).max() < 1e-4


class Tension(ASECalculator):
    """A cell that pulls itself together, whatever its volume."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        stress = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
        self.results = {"energy": atoms.get_volume(), "forces": np.zeros((len(atoms), 3)), "stress": stress}


def test_a_cell_that_collapses_ends_it():
    with pytest.raises(
        InputError, match=r"the cell collapsed at step \d+: .* A\^3 are left; .* positions alone"
    ) as caught:
        relax_cell(crystal("Cu", cubic=True, a=3.7), Tension(), fmax=1e-3)
    assert "\n" not in str(caught.value)


def test_too_few_steps_are_reported():
    found = relax(rattled(crystal("Cu", cubic=True)), EMT(), fmax=1e-6, max_steps=2)
    assert not found.converged
    assert found.steps == 2
    assert found.largest_force > 1e-6
    still = relax(crystal("Cu", cubic=True), EMT(), fmax=1e-3, max_steps=0)
    assert still.converged
    assert still.steps == 0


def test_constraints_are_kept():
    start = rattled(crystal("Cu", cubic=True))
    start.set_constraint(FixAtoms([0]))
    found = relax(start, EMT(), fmax=0.01)
    np.testing.assert_array_equal(found.atoms.positions[0], start.positions[0])


def test_our_potential_relaxes(potential):
    found = relax(molecule([14], 1), Calculator(potential), fmax=0.05, max_steps=400)
    assert found.converged


@pytest.mark.parametrize("builder", [slab, molecule])
def test_no_cell_to_relax(builder):
    with pytest.raises(InputError, match="cannot relax the cell"):
        relax_cell(builder([29]), EMT())


def test_bad_arguments():
    atoms = crystal("Cu")
    with pytest.raises(InputError, match="optimizer"):
        relax(atoms, EMT(), optimizer="magic")
    with pytest.raises(InputError, match="fmax"):
        relax(atoms, EMT(), fmax=-1.0)
    with pytest.raises(InputError, match="left the model's domain at step 0"):
        relax(Atoms("Cu2", [[0, 0, 0], [0, 0, 0.05]]), EMT())
