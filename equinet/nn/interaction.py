"""One round of message passing."""

from typing import Optional

import torch
from torch import Tensor, nn

from equinet.nn.gate import Gate
from equinet.nn.linear import EquivariantLinear, SpeciesLinear
from equinet.nn.radial import RadialNetwork
from equinet_kernels import ConvSpec, EdgeTopology, Layout, RadialConv, UVUConv


class Interaction(nn.Module):
    """Linear, convolution with radial weights, linear, self-connection by species, gate (Batzner et al. 2022, Fig. 1).

    Args:
        spec: of the convolution; its x layout is that of the input features.
        layout_out: wanted; every irreducible representation in it must be an output of the spec.
        num_species: S.
        radial_sizes: sizes of the radial network's input and hidden layers.
        mean_neighbors: messages are divided by the square root of this.
        self_connection: what the input is added through: "species", a linear map for each; "shared", one for all;
            "none": it is not.
        biases: whether the linear maps before and after the convolution add biases to even scalars.
        dtype: of weights and features.
        num_modals: how many levels of theory add biases of their own there.
    """

    def __init__(
        self,
        spec: ConvSpec,
        layout_out: Layout,
        num_species: int,
        radial_sizes: list[int],
        mean_neighbors: float,
        self_connection: str,
        biases: bool,
        dtype: torch.dtype,
        num_modals: int = 0,
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.gate = Gate(layout_out)
        self.linear_in = EquivariantLinear(spec.x, spec.x, dtype, biases, num_modals)
        self.radial = RadialNetwork([*radial_sizes, spec.weight_dim], dtype)
        self.conv = UVUConv(spec, dtype)
        self.radial_conv = None  # without an annotation, which TorchScript would not understand
        self.linear_out = EquivariantLinear(spec.out, self.gate.layout_in, dtype, biases, num_modals)
        self.norm = float(mean_neighbors) ** -0.5
        self.self_connection: Optional[SpeciesLinear] = (
            SpeciesLinear(num_species, spec.x, self.gate.layout_in, dtype) if self_connection == "species" else None
        )
        self.shared_connection: Optional[EquivariantLinear] = (
            EquivariantLinear(spec.x, self.gate.layout_in, dtype) if self_connection == "shared" else None
        )

    def recompute_weights(self) -> None:
        """From now on make the convolution's weights in blocks of edges, again for each derivative, and keep none."""
        self.radial_conv = RadialConv(ConvSpec.parse(self.conv.spec_string), self.dtype)  # type: ignore[assignment]

    def forward(
        self,
        x: Tensor,
        species: Tensor,
        y: Tensor,
        basis: Tensor,
        topology: EdgeTopology,
        modal: Optional[Tensor] = None,
    ) -> Tensor:
        """One round.

        Args:
            x: [N, dim x] features.
            species: [N] int64.
            y: [E, (l_max + 1)^2] harmonics of the edge directions.
            basis: [E, number of radial functions].
            topology: of the graph.
            modal: [N] int64, the level of theory, where there are several.

        Returns:
            [N, dim out] features.
        """
        messages = self.linear_in(x, modal)
        if self.radial_conv is not None:
            messages = self.radial_conv(messages, y, self.radial.hidden(basis), self.radial.last(), topology)
        else:
            messages = self.conv(messages, y, self.radial(basis), topology)
        out = self.linear_out(messages * self.norm, modal)
        if self.self_connection is not None:
            out = out + self.self_connection(x, species)
        if self.shared_connection is not None:
            out = out + self.shared_connection(x)
        return self.gate(out)
