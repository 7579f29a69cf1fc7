"""A potential as an ASE calculator."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as ASECalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from equinet.graph import AtomicGraph, VerletList
from equinet.models import Potential, Prediction, available_device
from equinet.simulate.loading import ready_potential

if TYPE_CHECKING:
    from equinet.uncertainty import Uncertainty

UNCERTAIN = ("energy_std", "forces_std", "stress_std", "support")
"""Properties of a calculator that was given an uncertainty."""


class Calculator(ASECalculator):
    """ASE calculator of a potential: energy, free_energy, energies, forces; stress where it means something.

    ``results["virial"]`` (3 x 3, eV, -dE/dstrain) is there for every structure. The stress (Voigt order and
    sign of ASE, eV/Angstrom^3) exists for three periodic directions only; elsewhere the cell's volume is
    padding, and asking for it raises ASE's PropertyNotImplementedError. Energies are float64 whatever the
    model's dtype is, and torch's default dtype is left alone.

    With an uncertainty, ``energy_std`` (eV), ``forces_std`` ([N] eV/Angstrom, of each component of an atom's force) and
    ``support`` ([N], above 1 outside the training data) are there when they are asked for, with
    ``calc.get_property("forces_std", atoms)``; ``stress_std`` (eV/Angstrom^3, of each component) where the structure
    has a stress and the calibration frames had. They cost several predictions, and nothing where they are not asked
    for. With the uncertainty of a committee, energy, forces and stress are the means of its members.

    Args:
        model: a model file, or a potential. A potential that is on another device, of another dtype or in
            training mode is copied, not changed.
        device: "cpu", "cuda" or "cuda:N".
        dtype: "float32" or "float64", of weights and features; None: as the model is.
        skin: of the neighbour list (:class:`equinet.graph.VerletList`), Angstrom: neighbours are searched anew when an
            atom has moved by half of it, or the cell has changed as much. The results are the same with any.
        modal: the level of theory, of a potential that knows several.
        uncertainty: a file that ``equinet uncertainty`` made for the model, or for a committee that it is one of.

    Raises:
        InputError: a file that is no model; a device that is not there; a negative skin; a modal that the potential
            does not know, or none where it knows several; an uncertainty of another model; in a calculation: an element
            that the model does not know, positions that are not finite, two atoms at one place.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012 as ASE has it
    nolabel = True

    def __init__(
        self,
        model: str | Path | Potential,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype | None = None,
        skin: float = 0.5,
        modal: str | None = None,
        uncertainty: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.device = available_device(device)
        self.potential = ready_potential(model, self.device, dtype, modal)
        self.uncertainty: Uncertainty | None = None
        if uncertainty is not None:
            from equinet.uncertainty import load_uncertainty

            self.uncertainty = load_uncertainty(uncertainty, self.potential)
            self.implemented_properties = [*self.implemented_properties, *UNCERTAIN]
        self.neighbors = VerletList(self.potential.cutoff, skin, self.device)

    @property
    def mirror_symmetric(self) -> bool:
        """Whether the potential claims that mirror images have the same energy."""
        return self.potential.architecture.mirror_symmetric

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute every property at once; ASE calls this when the atoms have changed.

        Raises:
            InputError: see the class.
        """
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None  # set by ASE just above
        atoms = self.atoms
        if self.device.type != "cpu":  # there the potential does so itself
            self.potential.check_elements(torch.from_numpy(atoms.numbers))
        graph = self.neighbors.graph(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
        self.results = self._predicted(graph) if self.uncertainty is None else self._estimated(graph, properties or ())

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """As ASE's; says why a property is not there.

        Raises:
            PropertyNotImplementedError: a stress without three periodic directions; error bars without an uncertainty.
        """
        try:
            return super().get_property(name, atoms, allow_calculation)
        except PropertyNotImplementedError:
            if name in UNCERTAIN and self.uncertainty is None:
                why = "give the calculator an uncertainty (equinet uncertainty makes the file)"
            elif name in ("stress", "stress_std") and self.atoms is not None and not self.atoms.pbc.all():
                why = (
                    f"the structure has the periodic directions {self.atoms.pbc.tolist()}, and a stress needs three; "
                    "results['virial'] has -dE/dstrain in eV"
                )
            else:
                raise
            raise PropertyNotImplementedError(f"{name}: {why}") from None

    def _predicted(self, graph: AtomicGraph) -> dict[str, Any]:
        return _results(self.potential(graph), graph)

    def _estimated(self, graph: AtomicGraph, properties: Sequence[str]) -> dict[str, Any]:
        """With what the uncertainty says; its standard deviations where they are asked for."""
        assert self.uncertainty is not None
        if not set(properties) & set(UNCERTAIN):
            return _results(self.uncertainty.predict(graph), graph)
        estimate = self.uncertainty.estimate(graph)
        results = _results(estimate.prediction, graph)
        results |= {
            "energy_std": float(estimate.energy_std[0]),
            "forces_std": estimate.forces_std,
            "support": estimate.support,
        }
        if "stress" in results and np.isfinite(estimate.stress_std[0]):
            results["stress_std"] = float(estimate.stress_std[0])
        return results


def _results(prediction: Prediction, graph: AtomicGraph) -> dict[str, Any]:
    """Of one structure, as ASE names them."""
    energy = float(prediction.energy[0])
    results = {
        "energy": energy,
        "free_energy": energy,
        "energies": prediction.atom_energies.cpu().numpy(),
        "forces": prediction.forces.cpu().numpy(),
        "virial": prediction.virial[0].cpu().numpy(),
    }
    stress = prediction.stress[0].cpu().numpy()
    if np.isfinite(stress).all() and bool(graph.pbc.all()):
        results["stress"] = full_3x3_to_voigt_6_stress(stress)
    return results
