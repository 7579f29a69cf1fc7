"""NequIP (Batzner et al., Nat. Commun. 13, 2453 (2022)): E(3)-equivariant message passing.

Read :class:`NequIP` from its ``forward``: vectors to distances and harmonics, rounds of interaction, one number per
atom.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, Optional, Union

import torch
from torch import Tensor, nn

from equinet.errors import InputError
from equinet.models.architecture import AtomicOutput
from equinet.nn import (
    BesselBasis,
    EquivariantLinear,
    Interaction,
    NormalizedActivation,
    PolynomialEnvelope,
    XPLOREnvelope,
)
from equinet_kernels import Block, ConvSpec, EdgeTopology, Layout, SphericalHarmonics


@dataclass(frozen=True)
class NequIPArchitecture:
    """Hyper-parameters of NequIP.

    Raises:
        InputError: a value out of range.
    """

    cutoff: float = 5.0
    """Neighbours are atoms nearer than this, Angstrom."""
    layers: int = 3
    """Rounds of message passing; information travels layers x cutoff."""
    l_max: int = 2
    """Highest degree of features and harmonics."""
    channels: Union[int, list[int]] = 32
    """Channels of each irreducible representation; a list gives one number for each l = 0..l_max."""
    parity: Literal["full", "natural", "none"] = "full"
    """full: features of both parities (0e, 0o, 1e, 1o, ...). natural: those that behave as harmonics do (0e, 1o, 2e,
    ...), cheaper.
    none: parity ignored, features of SO(3); energies then change under reflection."""
    num_bessel: int = 8
    """Radial basis functions."""
    bessel_trainable: bool = False
    """Whether their frequencies are trained."""
    envelope: Literal["polynomial", "xplor"] = "polynomial"
    """polynomial: continuous second derivatives at the cutoff. xplor: continuous first derivatives."""
    envelope_power: int = 6
    """Power of the polynomial envelope; larger keeps it near 1 for longer."""
    xplor_onset: Optional[float] = None
    """Where the xplor envelope starts to fall, Angstrom."""
    radial_hidden: list[int] = field(default_factory=lambda: [64])
    """Hidden layers of the networks that give the convolution its weights."""
    self_connection: bool = True
    """Whether each round adds its input through a linear map."""
    species_self_connection: bool = True
    """Whether that map is one for each species, as in the paper; else one for all, as in SevenNet: with many species
    cheaper."""
    biases: bool = False
    """Whether linear maps before and after the convolution add biases to even scalars."""
    modals: list[str] = field(default_factory=list)
    """Names of the levels of theory that it is trained on at once. Each has reference energies, scale and shift, adds a
    vector of its own to the embedding and biases to the linear maps of each round (Kim et al., J. Am. Chem. Soc. 147,
    1042 (2025)); all else is shared. Empty: one level, without a name."""
    readout_hidden: list[int] = field(default_factory=list)
    """Hidden layers of the readout; empty: linear, as in the paper."""
    mean_neighbors: Union[float, list[float], None] = None
    """Messages are divided by its square root; a list gives one number for each round. None: the training data's mean
    number of neighbours."""

    def __post_init__(self) -> None:
        def check(valid: bool, key: str, want: str) -> None:
            if not valid:
                raise InputError(f"architecture.{key} is {getattr(self, key)!r}; it must be {want}")

        def sizes(values: object, low: int) -> bool:
            return isinstance(values, list) and all(type(v) is int and low <= v <= 4096 for v in values)

        check(0 < self.cutoff <= 100, "cutoff", "a distance in Angstrom, above 0 and at most 100")
        check(1 <= self.layers <= 32, "layers", "1..32")
        check(0 <= self.l_max <= 6, "l_max", "0..6")
        per_l = isinstance(self.channels, int) or len(self.channels) == self.l_max + 1
        check(per_l and sizes(self.channels_per_l, 1), "channels", "1..4096, or a list of l_max + 1 such numbers")
        check(self.parity in ("full", "natural", "none"), "parity", "full, natural or none")
        check(1 <= self.num_bessel <= 256, "num_bessel", "1..256")
        check(self.envelope in ("polynomial", "xplor"), "envelope", "polynomial or xplor")
        check(2 <= self.envelope_power <= 64, "envelope_power", "2..64")
        if self.envelope == "xplor":
            onset = self.xplor_onset
            check(onset is not None and 0 < onset < self.cutoff, "xplor_onset", "between 0 and the cutoff for xplor")
        named = isinstance(self.modals, list) and all(isinstance(name, str) and name for name in self.modals)
        check(
            named and len(set(self.modals)) == len(self.modals) <= 64, "modals", "a list of at most 64 distinct names"
        )
        check(sizes(self.radial_hidden, 1), "radial_hidden", "a list of sizes 1..4096")
        check(sizes(self.readout_hidden, 1), "readout_hidden", "a list of sizes 1..4096")
        listed = isinstance(self.mean_neighbors, list)
        means = self.mean_neighbors_per_layer if self.mean_neighbors is not None else []
        check(not listed or len(means) == self.layers, "mean_neighbors", "a number, or one for each layer")
        check(all(0 < mean < 1e6 for mean in means), "mean_neighbors", "positive")

    @property
    def reach(self) -> float:
        """Atoms farther away do not change an atom's energy, Angstrom."""
        return self.layers * self.cutoff

    @property
    def mirror_symmetric(self) -> bool:
        """Whether mirror images have the same energy."""
        return self.parity != "none"

    @property
    def channels_per_l(self) -> list[int]:
        """Channels for each l = 0..l_max."""
        return [self.channels] * (self.l_max + 1) if isinstance(self.channels, int) else self.channels

    @property
    def mean_neighbors_per_layer(self) -> list[float]:
        """The divisor's square for each round.

        Raises:
            InputError: it is not set.
        """
        if self.mean_neighbors is None:
            raise InputError("architecture.mean_neighbors is not set; give it, or let the training data set it")
        return self.mean_neighbors if isinstance(self.mean_neighbors, list) else [self.mean_neighbors] * self.layers

    def build(self, num_species: int, dtype: torch.dtype) -> "NequIP":
        """Make the network with drawn weights."""
        return NequIP(self, num_species, dtype)

    def least_weights(self, num_species: int) -> int:
        """Return a lower bound on the number of weights, without building anything."""
        radial = [self.num_bessel, *self.radial_hidden, min(self.channels_per_l)]
        width = self.channels_per_l[0]
        readout = [width, *self.readout_hidden, 1]
        layer = width**2 + sum(a * b for a, b in pairwise(radial))
        return num_species * width + self.layers * layer + sum(a * b for a, b in pairwise(readout))

    @property
    def connection(self) -> str:
        """What a round's input is added through: "species", "shared" or "none"."""
        return "none" if not self.self_connection else "species" if self.species_self_connection else "shared"

    def rounds(self) -> list[tuple[ConvSpec, Layout]]:
        """The convolution of each round, and the layout of the features it leads to."""
        layout = Layout([Block(self.channels_per_l[0], 0, 1)])
        rounds = []
        for layer in range(self.layers):
            # the energy reads even scalars alone, so the last round makes nothing else
            targets = self.hidden_irreps() if layer < self.layers - 1 else [(0, 1)]
            spec = ConvSpec.all_paths(layout, self.l_max, targets, y_parity=1 if self.parity == "none" else -1)
            out = sorted(spec.out, key=lambda block: (block.l, -block.p))
            layout = Layout(Block(self.channels_per_l[l], l, p) for _, l, p in out)
            rounds.append((spec, layout))
        return rounds

    def hidden_irreps(self) -> list[tuple[int, int]]:
        """(l, p) that hidden features may have."""
        parities = {"full": lambda l: (1, -1), "natural": lambda l: ((-1) ** l,), "none": lambda l: (1,)}[self.parity]
        return [(l, p) for l in range(self.l_max + 1) for p in parities(l)]


def scalar_readout(widths: list[int], dtype: torch.dtype) -> tuple[nn.Sequential, EquivariantLinear]:
    """From even scalars to one number: hidden layers of these widths, and the last linear map."""
    layouts = [Layout([Block(width, 0, 1)]) for width in (*widths, 1)]
    hidden: list[nn.Module] = []
    for layout_in, layout_out in pairwise(layouts[:-1]):
        hidden += [EquivariantLinear(layout_in, layout_out, dtype), NormalizedActivation("silu")]
    return nn.Sequential(*hidden), EquivariantLinear(layouts[-2], layouts[-1], dtype)


class NequIP(nn.Module):
    """Atom energies from edge vectors and species, in units of the potential's scale.

    Args:
        architecture: hyper-parameters; ``mean_neighbors`` must be set.
        num_species: S.
        dtype: of weights and features. Geometry (distances, harmonics, radial basis) keeps the vectors' dtype, float64.
    """

    def __init__(self, architecture: NequIPArchitecture, num_species: int, dtype: torch.dtype) -> None:
        super().__init__()
        a = architecture
        mean_neighbors = a.mean_neighbors_per_layer
        self.dtype = dtype
        self.harmonics = SphericalHarmonics(a.l_max)
        envelope: nn.Module = PolynomialEnvelope(a.cutoff, a.envelope_power)
        if a.envelope == "xplor":
            assert a.xplor_onset is not None
            envelope = XPLOREnvelope(a.cutoff, a.xplor_onset)
        self.basis = BesselBasis(a.num_bessel, a.cutoff, envelope, a.bessel_trainable)
        channels = a.channels_per_l
        self.embedding = nn.Parameter(torch.randn(num_species, channels[0], dtype=dtype))
        self.modal_embedding: Optional[Tensor] = (
            nn.Parameter(torch.zeros(len(a.modals), channels[0], dtype=dtype)) if a.modals else None
        )
        radial_sizes = [a.num_bessel, *a.radial_hidden]
        self.layers = nn.ModuleList(
            Interaction(spec, layout, num_species, radial_sizes, mean, a.connection, a.biases, dtype, len(a.modals))
            for (spec, layout), mean in zip(a.rounds(), mean_neighbors, strict=True)
        )
        self.readout, self.last = scalar_readout([channels[0], *a.readout_hidden], dtype)

    def forward(
        self, vectors: Tensor, species: Tensor, topology: EdgeTopology, modal: Optional[Tensor] = None
    ) -> AtomicOutput:
        """Energies of atoms from their environments.

        Args:
            vectors: [E, 3] float64, from receiver to sender, Angstrom.
            species: [N] int64, 0..S-1.
            topology: of the graph.
            modal: [N] int64, the level of theory, where there are several.
        """
        lengths = torch.linalg.vector_norm(vectors, dim=1)  # [E]
        y = self.harmonics(vectors / lengths.unsqueeze(1)).to(self.dtype)  # [E, (l_max + 1)^2]
        basis = self.basis(lengths).to(self.dtype)  # [E, num_bessel]
        kind = species
        if self.embedding.dim() == 3:  # of each member of a committee, who is told by the modal
            assert modal is not None
            kind = species + self.embedding.shape[1] * modal
        x = self.embedding.flatten(0, -2).index_select(0, kind)  # [N, C]
        modal_embedding = self.modal_embedding
        if modal_embedding is not None:
            assert modal is not None
            x = x + modal_embedding.index_select(0, modal)
        for layer in self.layers:
            x = layer(x, species, y, basis, topology, modal)
        features = self.readout(x)  # [N, F]
        return AtomicOutput(self.last(features).squeeze(1).unsqueeze(0), features)
