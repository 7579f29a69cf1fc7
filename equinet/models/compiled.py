"""The production form of NequIP: the same numbers, less work, bounded memory; for inference.

The weights of its convolutions are quintic splines of the distance in the place of radial networks, evaluated block by
block inside the convolution. What depends on the species alone (the embedding and the first linear maps) is a table.
Nothing in it is trained, so nothing is kept for the gradients of weights.
"""

from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from torch import Tensor, nn

from equinet.errors import InputError
from equinet.models.architecture import AtomicOutput
from equinet.models.nequip import NequIP, NequIPArchitecture, scalar_readout
from equinet.nn import EquivariantLinear, Gate, Interaction, SpeciesLinear
from equinet_kernels import ConvSpec, EdgeTopology, Layout, TabulatedConv, tabulate


@dataclass(frozen=True)
class CompiledNequIPArchitecture:
    """Hyper-parameters of the compiled form.

    Raises:
        InputError: a value out of range.
    """

    nequip: dict[str, Any] = field(default_factory=dict)
    """Hyper-parameters of the NequIP that it was made from."""
    intervals: int = 256
    """Of the splines, equal, from 0 to the cutoff."""
    kink: int = 0
    """Knot at which the curvature jumps (the onset of an xplor envelope); 0: nowhere."""

    def __post_init__(self) -> None:
        if not 2 <= self.intervals <= 1 << 16:
            raise InputError(f"architecture.intervals is {self.intervals!r}; it must be 2..65536")
        if not 0 <= self.kink < self.intervals:
            raise InputError(f"architecture.kink is {self.kink!r}; it must be 0, or a knot below the last")
        self.source.mean_neighbors_per_layer  # noqa: B018 raises what is wrong with them

    @property
    def source(self) -> NequIPArchitecture:
        """The NequIP that it was made from."""
        return NequIPArchitecture(**self.nequip)

    @property
    def cutoff(self) -> float:
        """Neighbours are atoms nearer than this, Angstrom."""
        return float(self.source.cutoff)

    @property
    def reach(self) -> float:
        """Atoms farther away do not change an atom's energy, Angstrom."""
        return self.source.reach

    @property
    def modals(self) -> list[str]:
        """It knows one level of theory."""
        return []

    @property
    def mirror_symmetric(self) -> bool:
        """Whether mirror images have the same energy."""
        return self.source.mirror_symmetric

    @property
    def spacing(self) -> float:
        """Of the knots, Angstrom."""
        return self.cutoff / self.intervals

    def build(self, num_species: int, dtype: torch.dtype) -> "CompiledNequIP":
        """Make the network with empty tables and drawn weights."""
        return CompiledNequIP(self, num_species, dtype)

    def least_weights(self, num_species: int) -> int:
        """Return a lower bound on the number of weights, without building anything."""
        narrowest = min(self.source.channels_per_l)
        return self.source.layers * 6 * self.intervals * narrowest + num_species * self.source.channels_per_l[0]


class CompiledInteraction(nn.Module):
    """One round, as :class:`equinet.nn.Interaction` but for its weights, which are tables of the distance.

    Args:
        spec: of the convolution.
        layout_out: wanted.
        num_species: S.
        first: whether its input depends on the species alone: it then takes what linear_in would give, and its
            self-connection is a table.
        architecture: of the whole.
        dtype: of weights and features.
    """

    def __init__(
        self,
        spec: ConvSpec,
        layout_out: Layout,
        num_species: int,
        first: bool,
        architecture: CompiledNequIPArchitecture,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        source = architecture.source
        self.spacing = architecture.spacing
        self.gate = Gate(layout_out)
        gate_in = self.gate.layout_in
        self.conv = TabulatedConv(spec, dtype)
        # [intervals, coefficients, sum_p C_p]; the normalisation by neighbours is in it
        self.table = nn.Parameter(torch.zeros(architecture.intervals, 6, spec.weight_dim, dtype=dtype))
        self.linear_in: Optional[EquivariantLinear] = (
            None if first else EquivariantLinear(spec.x, spec.x, dtype, source.biases)
        )
        self.linear_out = EquivariantLinear(spec.out, gate_in, dtype, source.biases)
        connection = source.connection
        self.first_connection: Optional[Tensor] = (
            nn.Parameter(torch.zeros(num_species, gate_in.dim, dtype=dtype)) if first and connection != "none" else None
        )
        self.self_connection: Optional[SpeciesLinear] = (
            SpeciesLinear(num_species, spec.x, gate_in, dtype) if connection == "species" and not first else None
        )
        self.shared_connection: Optional[EquivariantLinear] = (
            EquivariantLinear(spec.x, gate_in, dtype) if connection == "shared" and not first else None
        )

    def forward(self, x: Tensor, species: Tensor, vectors: Tensor, topology: EdgeTopology) -> Tensor:
        """x [N, dim x], species [N], vectors [E, 3] float64 -> [N, dim out]."""
        mixed = x if self.linear_in is None else self.linear_in(x)
        out = self.linear_out(self.conv(mixed, vectors, self.table, self.spacing, topology))
        if self.first_connection is not None:
            out = out + self.first_connection.index_select(0, species)
        if self.self_connection is not None:
            out = out + self.self_connection(x, species)
        if self.shared_connection is not None:
            out = out + self.shared_connection(x)
        return self.gate(out)


class CompiledNequIP(nn.Module):
    """Atom energies from edge vectors and species, as :class:`equinet.models.NequIP` gives them.

    Args:
        architecture: hyper-parameters.
        num_species: S.
        dtype: of weights, tables and features; distances and harmonics are float64.
    """

    def __init__(self, architecture: CompiledNequIPArchitecture, num_species: int, dtype: torch.dtype) -> None:
        super().__init__()
        source = architecture.source
        rounds = source.rounds()
        self.embedding = nn.Parameter(torch.zeros(num_species, rounds[0][0].x.dim, dtype=dtype))
        self.layers = nn.ModuleList(
            CompiledInteraction(spec, layout, num_species, number == 0, architecture, dtype)
            for number, (spec, layout) in enumerate(rounds)
        )
        self.readout, self.last = scalar_readout([source.channels_per_l[0], *source.readout_hidden], dtype)
        self.requires_grad_(False)

    def forward(
        self, vectors: Tensor, species: Tensor, topology: EdgeTopology, _modal: Optional[Tensor] = None
    ) -> AtomicOutput:
        """vectors [E, 3] float64 from receiver to sender, Angstrom; species [N] int64; topology of the graph."""
        x = self.embedding.index_select(0, species)  # [N, C]
        for layer in self.layers:
            x = layer(x, species, vectors, topology)
        features = self.readout(x)  # [N, F]
        return AtomicOutput(self.last(features).squeeze(1).unsqueeze(0), features)


def compiled_network(
    model: NequIP, architecture: CompiledNequIPArchitecture, num_species: int, dtype: torch.dtype
) -> CompiledNequIP:
    """The compiled form of a network, with tables made from its radial networks in float64.

    Args:
        model: in float64.
        architecture: made from its hyper-parameters.
        num_species: S.
        dtype: of the result.
    """
    compiled = CompiledNequIP(architecture, num_species, dtype)
    state = model.state_dict()
    kept = {key: state[key] for key in compiled.state_dict() if key in state and key != "embedding"}
    missing, unexpected = compiled.load_state_dict(kept, strict=False)
    assert not unexpected
    assert all(key == "embedding" or "table" in key or "first_connection" in key for key in missing), missing
    with torch.no_grad():
        species = torch.arange(num_species)
        for number, (layer, fast) in enumerate(zip(model.layers, compiled.layers, strict=True)):
            assert isinstance(layer, Interaction)
            assert isinstance(fast, CompiledInteraction)
            fast.table.copy_(_table(model, layer, architecture))
            if number > 0:
                continue
            compiled.embedding.copy_(layer.linear_in(model.embedding))
            if fast.first_connection is not None:
                if layer.self_connection is not None:
                    fast.first_connection.copy_(layer.self_connection(model.embedding, species))
                elif layer.shared_connection is not None:
                    fast.first_connection.copy_(layer.shared_connection(model.embedding))
    return compiled


def _table(model: NequIP, layer: Interaction, architecture: CompiledNequIPArchitecture) -> Tensor:
    """A round's weights as splines of the distance, [intervals, 6, C] float64."""

    def weights(lengths: Tensor) -> Tensor:
        values: Tensor = layer.radial(model.basis(lengths)) * layer.norm
        return values

    return tabulate(weights, architecture.intervals, architecture.spacing, architecture.kink)
