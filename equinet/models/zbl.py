"""Ziegler-Biersack-Littmark repulsion: keeps atoms apart where there are no data."""

import torch
from torch import Tensor, nn

from equinet.nn import PolynomialEnvelope

COULOMB = 14.399645478425668
"""e^2 / (4 pi epsilon_0) in eV Angstrom (CODATA 2018)."""


class ZBL(nn.Module):
    """Screened nuclear repulsion of each pair (Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Solids
    (1985)).

    ``E_ij = k Z_i Z_j / r  phi(r / a)``, ``a = 0.46850 / (Z_i^0.23 + Z_j^0.23)`` Angstrom, times the model's
    polynomial envelope.

    Args:
        cutoff: Angstrom.
    """

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.envelope = PolynomialEnvelope(cutoff)
        self.coulomb = COULOMB  # TorchScript sees attributes, not module constants
        self.coefficients = [0.18175, 0.50986, 0.28022, 0.02817]
        self.exponents = [3.19980, 0.94229, 0.40290, 0.20162]

    def forward(self, lengths: Tensor, z_sender: Tensor, z_receiver: Tensor) -> Tensor:
        """Half of each pair's energy, to be given to the receiver.

        Args:
            lengths: [E] Angstrom.
            z_sender: [E] atomic numbers, in the dtype of the lengths.
            z_receiver: [E] likewise.

        Returns:
            [E] eV.
        """
        x = lengths * (z_sender**0.23 + z_receiver**0.23) / 0.46850
        phi = torch.zeros_like(x)
        for term, coefficient in enumerate(self.coefficients):
            phi = phi + coefficient * torch.exp(-self.exponents[term] * x)
        return 0.5 * self.coulomb * z_sender * z_receiver / lengths * phi * self.envelope(lengths)
