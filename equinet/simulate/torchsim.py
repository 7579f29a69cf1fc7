"""A potential as a model of torch-sim, whose integrators and optimizers move many systems at once.

Imported when ``equinet.TorchSimModel`` is first used: torch-sim is an extra (``pip install 'equinet-mlip[torchsim]'``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ase import Atoms
from torch import Tensor

from equinet.errors import InputError
from equinet.graph import AtomicGraph, VerletBatch
from equinet.models import Potential, resolve_dtype
from equinet.simulate.loading import ready_potential

try:
    import torch_sim
    from torch_sim.models.interface import ModelInterface
except ModuleNotFoundError as error:
    if error.name != "torch_sim":
        raise
    message = "TorchSimModel needs the package torch-sim-atomistic; pip install 'equinet-mlip[torchsim]'"
    raise ImportError(message) from None

if TYPE_CHECKING:
    from equinet.uncertainty import Estimate, Uncertainty


class TorchSimModel(ModelInterface):  # type: ignore[misc, unused-ignore]
    """torch-sim's model of a potential: energies, forces and stresses of the systems of a ``SimState``.

    Systems of any size, mixed, in one call; the graphs are :func:`equinet.graph.build_graph`'s, and the results those
    of :class:`equinet.Calculator` on one system after the other. Geometry is float64 within; the results have the
    precision of the state. The stress is NaN unless the state is periodic in three directions: elsewhere the cell's
    volume is padding. torch-sim gives all systems of a state the same periodic directions; its version 0.3 all three
    or none, and makes molecules of slabs unless ``state.pbc`` is set to a tensor [3] afterwards.

    Args:
        model: a model file, or a potential. A potential that is on another device, of another dtype or in
            training mode is copied, not changed.
        device: "cpu", "cuda" or "cuda:N".
        dtype: "float32" or "float64", of weights and features; None: as the model is.
        modal: the level of theory, of a potential that knows several.
        skin: of the neighbour list (:class:`equinet.graph.VerletBatch`), Angstrom. The results are the same with any.
        state_dtype: "float32" or "float64", of the states that torch-sim makes for this model (``model.dtype``).
        uncertainty: a file that ``equinet uncertainty`` made for the model, or for a committee that it is one of: then
            energies, forces and stresses are the means of its members.

    Attributes:
        potential: as it is used.
        compute_forces: whether forces are among the results. Settable.
        compute_stress: whether stresses are among the results. Settable.
        pbc: [3] or [B, 3], the periodic directions, whatever the state says; None: as the state says. A state that
            says False has positions that torch-sim does not wrap into the cell.

    Raises:
        InputError: a file that is no model; a device that is not there; a negative skin; a modal that the potential
            does not know, or none where it knows several; an uncertainty of another model; in a calculation: a state
            on another device; and, naming the system: an element that the model does not know, positions that are not
            finite, two atoms at one place.
    """

    def __init__(
        self,
        model: str | Path | Potential,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype | None = None,
        modal: str | None = None,
        skin: float = 0.5,
        state_dtype: str | torch.dtype = "float64",
        uncertainty: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.potential = ready_potential(model, device, dtype, modal)
        self.uncertainty: Uncertainty | None = None
        if uncertainty is not None:
            from equinet.uncertainty import load_uncertainty

            self.uncertainty = load_uncertainty(uncertainty, self.potential)
        self._device = self.potential.scale.device
        self._dtype = resolve_dtype(state_dtype)
        self._compute_stress = self._compute_forces = True
        # edges take the memory, and an atom has as many as the density says
        self._memory_scales_with = "n_atoms_x_density"
        self.neighbors = VerletBatch(self.potential.cutoff, skin, self._device)
        self.pbc: Tensor | None = None
        self._known = torch.empty(0)  # numbers of the atoms that were looked at last

    @ModelInterface.compute_stress.setter
    def compute_stress(self, compute_stress: bool) -> None:
        """Choose whether stresses are among the results."""
        self._compute_stress = compute_stress

    @ModelInterface.compute_forces.setter
    def compute_forces(self, compute_forces: bool) -> None:
        """Choose whether forces are among the results."""
        self._compute_forces = compute_forces

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """Compute the systems of a state.

        Args:
            state: torch-sim's SimState of B systems with N atoms; not changed.

        Returns:
            "energy" [B] eV, "forces" [N, 3] eV/Angstrom, "stress" [B, 3, 3] eV/Angstrom^3 (tension positive), in
            the precision of the state, without gradients.

        Raises:
            InputError: see the class.
        """
        graph = self._graph(state)
        prediction = self.potential(graph) if self.uncertainty is None else self.uncertainty.predict(graph)
        results = {"energy": prediction.energy}
        if self._compute_forces:
            results["forces"] = prediction.forces
        if self._compute_stress:
            results["stress"] = prediction.stress
        return {name: values.to(state.positions.dtype) for name, values in results.items()}

    def estimate(self, state: Any) -> "Estimate":
        """Error bars of the systems of a state, for a model with an uncertainty; several predictions' work.

        Raises:
            InputError: as a calculation; there is no uncertainty.
        """
        if self.uncertainty is None:
            raise InputError("the model has no uncertainty; make one with equinet uncertainty")
        return self.uncertainty.estimate(self._graph(state))

    def _graph(self, state: Any) -> AtomicGraph:
        if state.positions.device != self._device:
            raise InputError(
                f"the state is on {state.positions.device} and the model on {self._device}; make the state with "
                "torch_sim.initialize_state(systems, model.device, model.dtype)"
            )
        self._check_elements(state.atomic_numbers, state.system_idx)
        cell = state.cell.mT  # torch-sim's lattice vectors are columns
        pbc = torch.as_tensor(state.pbc if self.pbc is None else self.pbc, device=self._device).expand(len(cell), 3)
        return self.neighbors.graph(state.positions, state.atomic_numbers, cell, pbc, state.system_idx)

    def _check_elements(self, numbers: Tensor, batch: Tensor) -> None:
        """Check that the potential knows all elements; once for the same atoms, as it makes the host wait for a GPU."""
        if torch.equal(numbers, self._known):
            return
        try:
            self.potential.check_elements(numbers)
        except InputError:
            for system in batch.unique().tolist():
                try:
                    self.potential.check_elements(numbers[batch == system])
                except InputError as error:
                    raise InputError(f"system {system}: {error}") from None
            raise
        self._known = numbers.clone()


def state_of(structures: Sequence[Atoms], model: TorchSimModel) -> Any:
    """torch-sim's state of structures for a model that knows their periodic directions (``model.pbc``): not wrapped."""
    bare = [Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=False) for atoms in structures]
    for mine, atoms in zip(bare, structures, strict=True):
        mine.set_masses(atoms.get_masses())
    return torch_sim.initialize_state(bare, model.device, model.dtype)
