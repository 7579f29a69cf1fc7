"""Elastic constants from the strained cells of a data set: of EMT, whose tensor is known otherwise."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks.simulate.training_level import (
    constants,
    cubic,
    cubic_of_energies,
    curvatures,
    page,
    slopes,
    strained_cells,
    within,
)
from equinet.simulate.properties.elastic import ElasticSettings, elastic_tensor
from equinet.simulate.properties.start import starting_structure


@pytest.fixture(scope="module")
def ground():
    return starting_structure(bulk("Cu", cubic=True), EMT(), "cell")


def series(ground):
    """As mlearn has them: stretches, and shears of one vector, which also turn the crystal."""
    frames = []
    for mode in range(6):
        for amount in (-0.03, -0.01, 0.01, 0.03, 0.2):
            deformation = np.eye(3)
            row, column = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))[mode]
            deformation[row, column] += amount
            frame = ground.copy()
            frame.set_cell(ground.cell.array @ deformation, scale_atoms=True)
            frame.info["description"] = f"Cu 1x1x1 cell, mode {mode}, strain {amount:.2f}"
            frames.append(frame)
    frames.append(ground.copy())
    frames[-1].info["description"] = "Ground state crystal"
    for frame in frames:
        frame.calc = EMT()
        frame.calc = SinglePointCalculator(frame, energy=frame.get_potential_energy(), stress=frame.get_stress())
    return frames


def test_constants_of_strained_cells_are_those_of_the_tensor(ground):
    cells = strained_cells(series(ground))
    assert len(cells) == 30
    found = cubic(slopes(cells, [cell.frame.get_stress() for cell in cells]))
    tensor = elastic_tensor(ground, EMT(), ElasticSettings(relax_ions=False)).clamped_ion
    in_gpa = np.array(found) * 160.21766
    # third derivatives at 3 %: the odd part is off by a strain squared times what a crystal has of it
    assert in_gpa == pytest.approx(constants(tensor.stiffness_gpa), rel=0.02)


def test_energies_of_strained_cells_say_the_same(ground):
    cells = [cell for cell in strained_cells(series(ground)) if abs(cell.amount) < 0.1]
    start = ground.copy()
    start.calc = EMT()
    energies = [cell.frame.get_potential_energy() for cell in cells]
    found = cubic_of_energies(curvatures(cells, energies, ground, start.get_potential_energy()))
    tensor = elastic_tensor(ground, EMT(), ElasticSettings(relax_ions=False)).clamped_ion
    c11, _, c44 = constants(tensor.stiffness_gpa)
    assert found[1] is None
    assert 160.21766 * found[0] == pytest.approx(c11, rel=0.005)
    assert 160.21766 * found[2] == pytest.approx(c44, rel=0.005)


def test_what_is_near_enough():
    assert within(95.1, 100.0)
    assert within(44.9, 40.0)
    assert not within(451.0, 481.0)


def test_the_page_says_what_is_off():
    own, frames = ((451.0, 164.0, 109.0), (461.0, 164.0, 109.0)), (460.0, 164.0, 108.0)
    seeds = {number: {"own": each, "on_the_frames": frames} for number, each in enumerate(own)}
    found = {"dft": (481.0, 165.0, 108.0), "dft_from_energies": (472.0, None, 106.0), "seeds": seeds}
    text = page({"Mo": found | {"experiment": (463.7, 157.8, None)}})
    assert (
        "| Mo | C11 | 481.0 (472.0) | 456.0 (451.0 to 461.0) | -25.0, -5.2% | 1 of 2 "
        "| 460.0 (460.0 to 460.0) | 2 of 2 | 463.7 |"
    ) in text
    assert "| Mo | C12 | 165.0 | 164.0 (164.0 to 164.0) | -1.0, -0.6% | 2 of 2 |" in text
