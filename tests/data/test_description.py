"""Numbers of a data set worked out by hand, and a figure of them."""

import numpy as np
import pytest
from PIL import Image

from equinet.data.description import describe, draw_description
from equinet.errors import InputError
from tests.data.frames import atom, record


def data():
    cell = {"cell": 4.0 * np.eye(3), "pbc": np.ones(3, dtype=bool)}
    forces = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
    return [
        record("H2", -2.0, forces=forces),
        record("H2", -4.0),
        record("HO", -5.0, virial=64.0 * np.eye(3), **cell),
        record("O4"),
        atom("H", -1.0),
    ]


def test_numbers():
    facts = describe(data(), 2.0).facts
    assert (facts["structures"], facts["atoms"], facts["isolated_atoms"], facts["sampled"]) == (5, 11, 1, None)
    assert (facts["with_energy"], facts["with_forces"], facts["with_stress"]) == (4, 1, 1)
    assert facts["elements"] == {"H": {"structures": 4, "atoms": 6}, "O": {"structures": 2, "atoms": 5}}
    assert list(facts["elements"]) == ["H", "O"]
    assert facts["atoms_of_a_structure"]["median"] == 2.0
    # two each in H2, H2, HO; ends and middle of a row of four; none for the isolated atom
    assert facts["neighbors_of_an_atom"] == {"mean": pytest.approx(12 / 11), "least": 0, "5 %": 0, "median": 1} | {
        "95 %": 2,
        "most": 2,
    }
    assert facts["force"]["rms of components"] == pytest.approx(np.sqrt(25 / 6))
    assert facts["force"]["largest"] == 5.0
    assert facts["pressure"]["median"] == pytest.approx(160.2176634)  # virial / volume = 1 eV/A^3, compressed
    energies = facts["energy_from_composition_fit"]
    assert energies["most"] - energies["least"] == pytest.approx(1.0, abs=1e-6)


def test_a_sample_of_many(monkeypatch):
    monkeypatch.setattr("equinet.data.description.MAXIMUM_FRAMES", 20)
    description = describe(20 * data(), 2.0)
    assert description.facts["sampled"] == 20
    assert (description.facts["structures"], description.facts["atoms"]) == (100, 220)
    assert sum(description.neighbors) < 60
    assert "what follows is of 20 structures drawn at random" in description.lines()


@pytest.mark.parametrize("records", [data(), [record("H2", -1.0)], [record("H2", forces=np.zeros((2, 3)))]])
def test_figure(tmp_path, records):
    draw_description(describe(records, 2.0), "title", tmp_path / "stats.png")
    image = np.asarray(Image.open(tmp_path / "stats.png").convert("L"))
    assert image.shape == (1050, 1950)
    assert 0.02 < (image < 128).mean() < 0.9


def test_nothing_to_describe():
    with pytest.raises(InputError, match="no structures to describe"):
        describe([], 2.0)
