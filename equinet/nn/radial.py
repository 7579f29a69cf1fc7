"""Functions of the distance: basis, envelope, and the network that turns them into weights of the convolution."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from equinet.nn.activation import NormalizedActivation
from equinet.nn.linear import matmul


class PolynomialEnvelope(nn.Module):
    """Goes from 1 to 0 at the cutoff with continuous second derivatives (Gasteiger et al., arXiv:2003.03123, eq. 8).

    Args:
        cutoff: Angstrom.
        power: p; larger keeps it near 1 for longer.
    """

    def __init__(self, cutoff: float, power: int = 6) -> None:
        super().__init__()
        self.cutoff = float(cutoff)
        self.power = int(power)

    def forward(self, lengths: Tensor) -> Tensor:
        """Elementwise; exactly 0 at and beyond the cutoff."""
        p = float(self.power)
        x = lengths / self.cutoff
        tail = x**self.power * ((p + 1.0) * (p + 2.0) / 2.0 - p * (p + 2.0) * x + p * (p + 1.0) / 2.0 * x * x)
        return torch.where(x < 1.0, 1.0 - tail, torch.zeros_like(x))


class XPLOREnvelope(nn.Module):
    """1 up to the onset, then to 0 at the cutoff with continuous first (not second) derivatives, as in X-PLOR and
    HOOMD.

    Args:
        cutoff: Angstrom.
        onset: where it starts to fall, Angstrom.
    """

    def __init__(self, cutoff: float, onset: float) -> None:
        super().__init__()
        self.cutoff = float(cutoff)
        self.onset = float(onset)

    def forward(self, lengths: Tensor) -> Tensor:
        """Elementwise; exactly 0 at and beyond the cutoff."""
        r2, c2, o2 = lengths * lengths, self.cutoff**2, self.onset**2
        fall = (c2 - r2) * (c2 - r2) * (c2 + 2.0 * r2 - 3.0 * o2) / (c2 - o2) ** 3
        outside = torch.where(lengths < self.cutoff, fall, torch.zeros_like(fall))
        return torch.where(lengths < self.onset, torch.ones_like(fall), outside)


class BesselBasis(nn.Module):
    """``2 / rc sin(n pi r / rc) / r`` for n = 1..num, times an envelope (Gasteiger et al., arXiv:2003.03123, eq. 7).

    The prefactor is NequIP's: messages of atoms at bond lengths start small, and deep networks start near zero energy.

    Args:
        num: number of functions.
        cutoff: rc, Angstrom.
        envelope: what takes them to 0 at the cutoff.
        trainable: whether the frequencies n pi are trained.
    """

    def __init__(self, num: int, cutoff: float, envelope: nn.Module, trainable: bool = False) -> None:
        super().__init__()
        self.cutoff = float(cutoff)
        self.envelope = envelope
        frequencies = torch.arange(1, num + 1, dtype=torch.float64) * math.pi
        self.frequencies = nn.Parameter(frequencies, requires_grad=trainable)

    def forward(self, lengths: Tensor) -> Tensor:
        """[E] float64 -> [E, num] float64."""
        r = lengths.unsqueeze(1)
        num = self.frequencies.shape[-1]
        frequencies = self.frequencies.view(-1, 1, num)  # members of a committee have their own
        members = frequencies.shape[0]
        phases = (r / self.cutoff).view(members, lengths.shape[0] // members, 1) * frequencies
        waves = torch.sin(phases.view(lengths.shape[0], num)) / r
        return 2.0 / self.cutoff * waves * self.envelope(lengths).unsqueeze(1)


class RadialNetwork(nn.Module):
    """A perceptron without biases: what vanishes at the cutoff stays so. Matrices may be those of members, see
    :func:`equinet.nn.linear.matmul`.

    Args:
        sizes: of input, hidden layers, output.
        dtype: of the weights.
    """

    def __init__(self, sizes: list[int], dtype: torch.dtype) -> None:
        super().__init__()
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(rows, columns, dtype=dtype)) for rows, columns in pairwise(sizes)
        )
        self.num_layers = len(sizes) - 1
        self.activation = NormalizedActivation("silu")

    def forward(self, x: Tensor) -> Tensor:
        """[E, sizes[0]] -> [E, sizes[-1]]."""
        return matmul(self.hidden(x), self.last(), False)

    def hidden(self, x: Tensor) -> Tensor:
        """[E, sizes[0]] -> [E, sizes[-2]]: what the last weights multiply."""
        for layer, weight in enumerate(self.weights):
            if layer > 0:
                x = self.activation(x)
            if layer < self.num_layers - 1:
                x = matmul(x, weight * weight.shape[-2] ** -0.5, False)
        return x

    def last(self) -> Tensor:
        """The last weights [sizes[-2], sizes[-1]], as they are used."""
        last = torch.zeros(0)
        for weight in self.weights:  # TorchScript takes no computed index
            last = weight
        return last * last.shape[-2] ** -0.5
