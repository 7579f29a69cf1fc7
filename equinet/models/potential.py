"""From atom energies to energy, forces, virial and stress: the only place where an energy is differentiated."""

from collections.abc import Sequence
from typing import Any, List, NamedTuple, Optional

import torch
from torch import Tensor, nn

from equinet.elements import SYMBOLS
from equinet.errors import InputError
from equinet.graph import AtomicGraph, volumes
from equinet.models.architecture import Architecture, AtomicOutput
from equinet.models.zbl import ZBL
from equinet.nn import PolynomialEnvelope
from equinet_kernels import (
    EdgeTopology,
    EdgeVectors,
    SegmentGather,
    SegmentSum,
    edge_topology,
    row_pointers,
    with_isolated_nodes,
)


class Prediction(NamedTuple):
    """What a potential says of a batch of B structures with N atoms. All but the features are float64."""

    energy: Tensor  # [B] eV; the mean over a committee's members
    atom_energies: Tensor  # [N] eV
    forces: Tensor  # [N, 3] eV/Angstrom
    virial: Tensor  # [B, 3, 3] eV, -dE/dstrain, of every structure
    stress: Tensor  # [B, 3, 3] eV/Angstrom^3, -virial/V, tension positive; NaN unless periodic in three directions
    features: Tensor  # [N, F] what the last linear map reads
    member_energies: Tensor  # [M, B] eV; M = 1 for a single model


class ReadoutDerivatives(NamedTuple):
    """What a batch's energies change by with the weights of the last linear map. Everything is float64."""

    features: Tensor  # [N, F] eV; of the atom energies
    forces: Tensor  # [M, N, 3] eV/Angstrom; of the forces, in each of M directions
    virial: Tensor  # [M, B, 3, 3] eV; of the virials, likewise


class Potential(nn.Module):
    """An interatomic potential: an architecture's atom energies with their references, and all derivatives.

    The energy of atom i of species s is ``E0[s] + scale[s] f_i + shift[s]`` plus half of its pairs' repulsion (with
    ``zbl``). With ``subtract_isolated`` the architecture's answer for an isolated atom is subtracted from ``f_i``,
    and the shift fades in with the coordination ``n_i = sum_j envelope(r_ij)`` as ``1 - exp(-n_i)``: an isolated atom
    has exactly E0. Where the architecture knows several levels of theory (``modals``), each has E0, scale and shift of
    its own, and every call says which level each structure is of.

    Args:
        architecture: hyper-parameters.
        species: atomic numbers it knows, ascending.
        isolated_energies: E0 of each species, eV; with modals a list of such lists.
        scale: of the architecture's output, eV, one or one for each species; with modals a list of such lists.
        shift: of each species, eV; with modals a list of such lists.
        subtract_isolated: see above.
        zbl: whether to add screened nuclear repulsion.
        dtype: of weights and features; geometry and energies are float64 whatever it is.
        provenance: where the potential comes from, JSON-able; kept in the model file.

    Raises:
        InputError: species not ascending or unknown; numbers of values that do not fit.
    """

    def __init__(
        self,
        architecture: Architecture,
        species: Sequence[int],
        isolated_energies: Sequence[Any],
        scale: float | Sequence[Any],
        shift: Sequence[Any] | None = None,
        subtract_isolated: bool = True,
        zbl: bool = False,
        dtype: torch.dtype = torch.float32,
        provenance: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        species = [int(z) for z in species]
        if not species or species != sorted(set(species)) or not 0 < species[0] <= species[-1] < len(SYMBOLS):
            raise InputError(f"species must be distinct atomic numbers in ascending order, got {species}")
        if dtype not in (torch.float32, torch.float64):
            raise InputError(f"dtype must be float32 or float64, got {dtype}")
        self.architecture = architecture
        self.provenance = provenance or {}
        self.species = species
        self.cutoff = float(architecture.cutoff)
        self.dtype = dtype
        self.subtract_isolated = subtract_isolated
        self.model = architecture.build(len(species), dtype)
        self.coordination = PolynomialEnvelope(self.cutoff)
        self.edge_vectors = EdgeVectors()
        self.segment_sum = SegmentSum()
        self.segment_gather = SegmentGather()
        self.zbl: Optional[ZBL] = ZBL(self.cutoff) if zbl else None

        self.modals: List[str] = list(architecture.modals)
        shape = (len(self.modals), len(species)) if self.modals else (len(species),)
        for name, values in (("reference_energies", isolated_energies), ("scale", scale), ("shift", shift or 0.0)):
            tensor = torch.tensor(values, dtype=torch.float64)
            if tensor.dim() == 0 and name != "reference_energies":
                tensor = tensor.expand(shape).clone()
            if tensor.shape != shape or not torch.isfinite(tensor).all():
                of = f"{len(species)} species" + (f" and {len(self.modals)} modals" if self.modals else "")
                raise InputError(f"{name} needs one finite number for each of {of}, got {values}")
            self.register_buffer(name, tensor)
        index = torch.full((len(SYMBOLS),), -1, dtype=torch.int64)
        index[species] = torch.arange(len(species))
        self.register_buffer("species_index", index, persistent=False)
        self.register_buffer("isolated_outputs", None, persistent=False)
        self.register_buffer("isolated_features", None, persistent=False)

    reference_energies: Tensor  # [S] eV, or [modals, S]
    scale: Tensor  # as above
    shift: Tensor  # as above
    species_index: Tensor  # [119] index of each atomic number, -1 if unknown
    isolated_outputs: Optional[Tensor]  # [M, kinds] the architecture's answers for isolated atoms, once frozen
    isolated_features: Optional[Tensor]  # [kinds, F] what their last linear map reads, likewise

    def forward(self, graph: AtomicGraph, modal: Optional[Tensor] = None) -> Prediction:
        """Energy, forces, virial and stress. In training mode the derivatives can be differentiated again.

        Works under ``torch.no_grad``; not under ``torch.inference_mode``.

        Args:
            graph: one structure or a batch.
            modal: [B] int64, the level of theory of each structure, where the potential knows several.

        Raises:
            InputError: an element the potential does not know (checked on the CPU only: it would stop a GPU); no modal
                where there are several.
        """
        if not torch.jit.is_scripting():
            return self._checked(graph, modal)
        return self.differentiated(graph, modal)

    @torch.jit.unused
    def _checked(self, graph: AtomicGraph, modal: Optional[Tensor]) -> Prediction:
        """What Python adds to the scripted form: checks, and gradients under ``no_grad``."""
        if graph.numbers.device.type == "cpu":
            self.check_elements(graph.numbers)
        self._check_modal(modal)
        with torch.enable_grad():
            return self.differentiated(graph, modal)

    @torch.jit.unused
    def _check_modal(self, modal: Optional[Tensor]) -> None:
        """A modal where there are several, and none where there is one."""
        if self.modals and modal is None:
            raise InputError(f"the potential knows the levels of theory {', '.join(self.modals)}; choose one")
        if not self.modals and modal is not None:
            raise InputError("the potential knows one level of theory; there is nothing to choose")

    def differentiated(self, graph: AtomicGraph, modal: Optional[Tensor]) -> Prediction:
        """Energies and their derivatives with respect to positions and strain; :meth:`forward` without its checks."""
        positions = graph.positions.detach().requires_grad_(True)
        strain = torch.zeros_like(graph.cell).requires_grad_(True)
        energies, atom_energies, features = self._energies(graph, positions, strain, modal)
        energy = energies.mean(dim=0)  # [B]
        gradients = torch.autograd.grad(
            [energy.sum()], [positions, strain], create_graph=self.training, allow_unused=True
        )
        position_gradient, strain_gradient = gradients[0], gradients[1]
        forces = torch.zeros_like(positions) if position_gradient is None else -position_gradient
        virial = torch.zeros_like(strain) if strain_gradient is None else -strain_gradient
        stress = -virial / volumes(graph).view(-1, 1, 1)
        if not self.training:
            energy, atom_energies, features, energies = (
                energy.detach(),
                atom_energies.detach(),
                features.detach(),
                energies.detach(),
            )
        return Prediction(energy, atom_energies.mean(dim=0), forces, virial, stress, features, energies)

    def energy(self, graph: AtomicGraph, modal: Optional[Tensor] = None) -> Tensor:
        """Energies alone, [B] eV."""
        strain = torch.zeros_like(graph.cell)
        return self._energies(graph, graph.positions, strain, modal)[0].mean(dim=0)

    @torch.jit.unused
    def with_readout_derivatives(
        self, graph: AtomicGraph, directions: Tensor, modal: Optional[Tensor] = None
    ) -> tuple[Prediction, ReadoutDerivatives]:
        """Prediction, and its derivatives with respect to the weights of the last linear map.

        Energies are linear in those weights: atom i's is ``features[i] @ weights`` plus what does not depend on them,
        also where isolated atoms are subtracted. One forward pass and M + 1 backward passes.

        Args:
            graph: one structure or a batch.
            directions: [M, F], changes of the weights that forces and virials are differentiated along.
            modal: as in :meth:`forward`.

        Raises:
            InputError: an element the potential does not know.
        """
        self.check_elements(graph.numbers)
        self._check_modal(modal)
        atom_modal = None if modal is None else modal.index_select(0, graph.batch)
        species = self.species_index.index_select(0, graph.numbers)
        kind = species if atom_modal is None else species + len(self.species) * atom_modal
        with torch.enable_grad():
            positions = graph.positions.detach().requires_grad_(True)
            strain = torch.zeros_like(graph.cell).requires_grad_(True)
            energies, atom_energies, outputs = self._energies(graph, positions, strain, modal)
            energy = energies.mean(dim=0)  # [B]
            # the weights are divided by sqrt(F) when used (EquivariantLinear)
            factor = (self.scale.flatten().index_select(0, kind) * outputs.shape[1] ** -0.5).unsqueeze(1)  # [N, 1]
            features = outputs.to(torch.float64) * factor
            totals = [energy.sum(), *(features @ directions.to(features).T).sum(dim=0)]
            gradients = [_gradients(total, positions, strain, total is not totals[-1]) for total in totals]
        forces = -torch.stack([by_position for by_position, _ in gradients])  # [1 + M, N, 3]
        virials = -torch.stack([by_strain for _, by_strain in gradients])  # [1 + M, B, 3, 3]
        features = features.detach()
        if self.subtract_isolated:
            isolated = self.isolated_features
            if isolated is None:
                isolated = self._isolated_answers().features
            features = features - isolated.to(torch.float64)[kind] * factor
        stress = -virials[0] / volumes(graph).view(-1, 1, 1)
        prediction = Prediction(
            energy.detach(),
            atom_energies.detach().mean(dim=0),
            forces[0],
            virials[0],
            stress,
            outputs.detach(),
            energies.detach(),
        )
        return prediction, ReadoutDerivatives(features, forces[1:], virials[1:])

    @torch.jit.unused
    def hessian(
        self, graph: AtomicGraph, modal: Optional[Tensor] = None, atoms: Optional[Sequence[int]] = None
    ) -> Tensor:
        """Second derivatives of one structure's energy with respect to its positions.

        Args:
            graph: one structure.
            modal: as in :meth:`forward`.
            atoms: whose rows alone are computed, in this order; None for all. The work grows with their number.

        Returns:
            [3N, 3N] eV/Angstrom^2, float64; [3A, 3N] for A atoms.

        Raises:
            InputError: a batch of several structures, or an element the potential does not know.
        """
        if graph.cell.shape[0] != 1:
            raise InputError("a Hessian is of one structure; split the batch")
        self.check_elements(graph.numbers)
        self._check_modal(modal)
        with torch.enable_grad():
            positions = graph.positions.detach().requires_grad_(True)
            energy = self._energies(graph, positions, torch.zeros_like(graph.cell), modal)[0].mean(dim=0).sum()
            chosen = torch.arange(len(positions)) if atoms is None else torch.tensor(atoms, dtype=torch.int64)
            if not energy.requires_grad:
                return positions.new_zeros(3 * len(chosen), positions.numel())
            (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
            rows = [
                torch.autograd.grad(component, positions, retain_graph=True)[0].flatten()
                for component in gradient[chosen.to(gradient.device)].flatten()
            ]
        return torch.stack(rows)

    @property
    @torch.jit.unused
    def isolated_energies(self) -> Tensor:
        """Energy of an isolated atom of each species, [S] float64 eV, or [modals, S]."""
        if self.subtract_isolated:
            return self.reference_energies.clone()
        isolated = self._isolated_outputs().mean(dim=0).view_as(self.scale)
        return self.reference_energies + self.shift + self.scale * isolated

    @torch.jit.unused
    def _isolated_outputs(self) -> Tensor:
        """What the architecture says of isolated atoms, [M, kinds] float64."""
        return self._isolated_answers().energies.to(torch.float64)

    @torch.jit.unused
    def _isolated_answers(self) -> AtomicOutput:
        """Energies and features of one isolated atom of each kind."""
        with torch.no_grad():
            none = torch.zeros(0, dtype=torch.int64, device=self.scale.device)
            vectors = torch.zeros(0, 3, dtype=torch.float64, device=self.scale.device)
            species, modal = self._every_kind()
            output: AtomicOutput = self.model(vectors, species, edge_topology(none, none, len(species)), modal)
            return output

    @torch.jit.unused
    def frozen(self) -> "Potential":
        """Return a copy for inference: without gradients of weights, isolated atoms computed once and for all."""
        copy = self.with_dtype(self.dtype).requires_grad_(False)
        copy.freeze_isolated_atoms()
        return copy

    @torch.jit.unused
    def freeze_isolated_atoms(self) -> None:
        """Compute isolated atoms once and for all; the weights must not change any more."""
        if self.subtract_isolated:
            answers = self._isolated_answers()
            self.isolated_outputs, self.isolated_features = answers.energies.to(torch.float64), answers.features

    @torch.jit.unused
    def with_dtype(self, dtype: torch.dtype) -> "Potential":
        """Return a copy with weights and features in another precision, in eval mode, on the same device."""
        with torch.random.fork_rng(devices=[]):  # the random weights drawn here are overwritten
            copy = Potential(
                self.architecture,
                species=self.species,
                isolated_energies=self.reference_energies.tolist(),
                scale=self.scale.tolist(),
                shift=self.shift.tolist(),
                subtract_isolated=self.subtract_isolated,
                zbl=self.zbl is not None,
                dtype=dtype,
                provenance=self.provenance,
            )
        copy.load_state_dict(self.state_dict())
        return copy.to(self.scale.device).eval()

    @torch.jit.unused
    def check_elements(self, numbers: Tensor) -> None:
        """Check that the potential knows every element.

        Args:
            numbers: [N] atomic numbers.

        Raises:
            InputError: naming the elements it does not know, and those it does.
        """
        inside = (numbers > 0) & (numbers < len(SYMBOLS))
        known = inside & (self.species_index.to(numbers.device)[numbers * inside] >= 0)
        if not bool(known.all()):
            unknown = sorted(set(numbers[~known].tolist()))
            names = ", ".join(SYMBOLS[z] if 0 < z < len(SYMBOLS) else f"atomic number {z}" for z in unknown)
            knows = ", ".join(SYMBOLS[z] for z in self.species)
            raise InputError(f"the potential does not know {names}; it was trained for {knows}")

    def _every_kind(self) -> tuple[Tensor, Optional[Tensor]]:
        """Species, and modal where there are several, of one atom of each kind, in the order of the scales."""
        kinds = torch.arange(self.scale.numel(), device=self.scale.device)
        count = len(self.species)
        return kinds % count, kinds // count if self.scale.dim() == 2 else None

    def _energies(
        self, graph: AtomicGraph, positions: Tensor, strain: Tensor, modal: Optional[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Energies [M, B] and [M, N] in eV, features [N, F], of the structures under a strain [B, 3, 3]."""
        batch = graph.batch
        atoms = positions.shape[0]
        topology = edge_topology(graph.senders, graph.receivers, atoms)
        structures = row_pointers(batch, graph.cell.shape[0])  # [B + 1]
        # the strain moves atoms and cells, and thereby every edge vector v to v (1 + strain)
        symmetric = 0.5 * (strain + strain.transpose(1, 2))
        atom_strain = self.segment_gather(symmetric, structures, atoms)  # [N, 3, 3]
        strained = positions + torch.bmm(positions.unsqueeze(1), atom_strain).squeeze(1)
        cell = graph.cell + torch.bmm(graph.cell, symmetric)
        vectors = self.edge_vectors(strained, cell, batch, graph.images, topology)  # [E, 3]
        atom_modal = None if modal is None else modal.index_select(0, batch)
        atom_energies, features = self.from_vectors(vectors, graph.numbers, topology, atoms, atom_modal)
        # an edge of NaN is beyond the cutoff to every comparison; a coordinate that is no number must not get lost so
        atom_energies = atom_energies + 0.0 * positions.detach().sum(dim=1)
        energies = self.segment_sum(atom_energies.transpose(0, 1), structures).transpose(0, 1)
        energies = energies + 0.0 * graph.cell.detach().sum(dim=[1, 2])
        return energies, atom_energies, features

    def from_vectors(
        self, vectors: Tensor, numbers: Tensor, topology: EdgeTopology, atoms: int, modal: Optional[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Energies of atoms from the edges that they receive.

        Args:
            vectors: [E, 3] float64, Angstrom.
            numbers: [N + G] atomic numbers; senders may be among the last G atoms (ghosts), receivers are not.
            topology: of the edges among all N + G atoms.
            atoms: N. With ghosts the potential must be :meth:`frozen`, and its convolutions know where their features
                come from.
            modal: [N] int64, the level of theory, where there are several.

        Returns:
            [M, N] eV, and features [N, F].
        """
        species = self.species_index.index_select(0, numbers.narrow(0, 0, atoms))  # [N]
        kind = species if modal is None else species + len(self.species) * modal  # which E0, scale and shift
        scale = self.scale.flatten().index_select(0, kind)
        shift = self.shift.flatten().index_select(0, kind)
        lengths = torch.linalg.vector_norm(vectors, dim=1)  # [E]
        row_ptr = topology.row_ptr.narrow(0, 0, atoms + 1)
        frozen = self.isolated_outputs
        if not self.subtract_isolated:
            output = self.model(vectors, species, topology, modal)
            contribution = scale * output.energies.to(torch.float64) + shift
        else:
            if frozen is not None:
                output = self.model(vectors, species, topology, modal)
                difference = output.energies.to(torch.float64) - frozen.index_select(1, kind)
            else:
                # one atom of each kind without edges rides along at the end of the batch
                isolated, isolated_modal = self._every_kind()
                kinds = isolated.shape[0]
                if modal is not None and isolated_modal is not None:
                    modal = torch.cat([modal, isolated_modal])
                output = self.model(
                    vectors, torch.cat([species, isolated]), with_isolated_nodes(topology, kinds), modal
                )
                values = output.energies.to(torch.float64)  # [M, N + kinds]
                difference = values.narrow(1, 0, atoms) - values.narrow(1, atoms, kinds).index_select(1, kind)
            coordination = self.segment_sum(self.coordination(lengths), row_ptr)  # [N]
            bound = scale * difference - shift * torch.expm1(-coordination)
            # the difference of two equal numbers computed in different rows is rounding, not zero
            contribution = torch.where(coordination > 0.0, bound, torch.zeros_like(bound))
        atom_energies = self.reference_energies.flatten().index_select(0, kind) + contribution  # [M, N]
        if self.zbl is not None:
            z = numbers.to(torch.float64)
            pairs = self.zbl(lengths, z.index_select(0, topology.senders), z.index_select(0, topology.receivers))  # [E]
            atom_energies = atom_energies + self.segment_sum(pairs, row_ptr)
        return atom_energies, output.features.narrow(0, 0, atoms)


def _gradients(energy: Tensor, positions: Tensor, strain: Tensor, again: bool) -> tuple[Tensor, Tensor]:
    """Of an energy by positions and strain, zero where it does not depend on them; ``again``: others follow."""
    if not energy.requires_grad:
        return torch.zeros_like(positions), torch.zeros_like(strain)
    by_position, by_strain = torch.autograd.grad([energy], [positions, strain], retain_graph=again, allow_unused=True)
    return (
        torch.zeros_like(positions) if by_position is None else by_position,
        torch.zeros_like(strain) if by_strain is None else by_strain,
    )


def by_positions(energy: Tensor, positions: Tensor, again: bool) -> Tensor:
    """Gradient of an energy by positions.

    Args:
        energy: a number.
        positions: [A, 3], of which it was made.
        again: whether other gradients of what it was made of follow.

    Returns:
        [A, 3]; zero where the energy does not depend on them.
    """
    gradient = torch.autograd.grad([energy], [positions], retain_graph=again, allow_unused=True)[0]
    return torch.zeros_like(positions) if gradient is None else gradient
