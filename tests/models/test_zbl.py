"""ZBL against LAMMPS: ``pair_style zbl 100.0 101.0`` (units metal, no switching at these distances), 22 Jul 2025
release."""

import pytest
import torch

from equinet.errors import InputError
from equinet.graph import build_graph
from equinet.models.zbl import ZBL
from tests.models.conftest import nequip

DISTANCES = [0.5, 1.0, 1.8, 2.6]  # Angstrom
LAMMPS = {  # eV
    (6, 6): [119.9080595838478, 15.409763740815693, 1.537304534848803, 0.25666572593348014],
    (1, 8): [33.17539232936993, 4.771573630868269, 0.5545907797625057, 0.10307129774642469],
    (14, 14): [470.4930981722294, 50.97436199121206, 4.073770701521748, 0.5867532193763054],
    (6, 79): [869.4432180731905, 81.48566575751845, 5.491495480782129, 0.6981313501996728],
}


class One(torch.nn.Module):
    """No envelope."""

    def forward(self, lengths: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(lengths)


@pytest.mark.parametrize("pair", list(LAMMPS))
def test_equals_lammps(pair: tuple[int, int]) -> None:
    zbl = ZBL(5.0)
    zbl.envelope = One()
    r = torch.tensor(DISTANCES, dtype=torch.float64)
    energies = 2 * zbl(r, torch.full_like(r, pair[0]), torch.full_like(r, pair[1]))
    # LAMMPS rounds e^2 / (4 pi epsilon_0) to 14.399645 eV Angstrom, 3.3e-8 below the CODATA value
    expected = torch.tensor(LAMMPS[pair], dtype=torch.float64) * (14.399645478425668 / 14.399645)
    assert torch.allclose(energies, expected, rtol=1e-12)


def test_keeps_atoms_apart() -> None:
    """With it, two atoms pushed together repel whatever the network says."""
    for z in (6, 14):
        graph = build_graph([[0, 0, 0], [0, 0, 0.3]], [z, z], [[0.0] * 3] * 3, [False] * 3, 4.0)
        bare = nequip(torch.float64)(graph).forces[1, 2]
        with_zbl = nequip(torch.float64, {"zbl": True})(graph).forces[1, 2]
        assert with_zbl - bare > 1e3


def test_species_it_cannot_have() -> None:
    with pytest.raises(InputError, match="distinct atomic numbers in ascending order"):
        nequip(torch.float64, {"species": [8, 6]})
