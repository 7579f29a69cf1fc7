"""Relaxation of many structures in one batch with torch-sim, which they leave as they are done and others enter."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from equinet.errors import InputError
from equinet.models import Potential
from equinet.simulate.calculator import Calculator
from equinet.simulate.flaws import in_batches
from equinet.simulate.output import without_results
from equinet.simulate.relaxation import FARTHEST, SMALLEST, OptimizerName, check_arguments, relax, relax_cell

STEPS_BETWEEN_SWAPS = 5
"""Steps after which systems leave and enter: each change makes the neighbour list anew."""


@dataclass(frozen=True)
class Relaxed:
    """How the relaxation of one of many structures ended.

    Attributes:
        index: of the structure, from 0.
        atoms: the last structure with energy, forces and, where there is one, stress; the start where it failed.
        converged: whether the largest force is below fmax.
        steps: taken.
        largest_force: on an atom (with the cell: or on a lattice vector, in ASE's measure), eV/Angstrom.
        failure: why it has no end; None for one that has.
    """

    index: int
    atoms: Atoms
    converged: bool
    steps: int
    largest_force: float
    failure: str | None = None


@dataclass(frozen=True)
class Settings:
    """Of the relaxations.

    Attributes:
        cell: whether cells relax too.
        fmax: eV/Angstrom.
        max_steps: of each structure.
        optimizer: "fire", "lbfgs" or "bfgs".
        keep_symmetry: the space group of each start.

    Raises:
        InputError: numbers that make no sense.
    """

    cell: bool = False
    fmax: float = 0.01
    max_steps: int = 500
    optimizer: OptimizerName = "fire"
    keep_symmetry: bool = False

    def __post_init__(self) -> None:
        check_arguments(self.fmax, self.max_steps, self.optimizer)


def why_one_by_one(settings: Settings) -> str | None:
    """Why no structure can be relaxed in batches by the torch-sim that is installed; None where they can.

    Those with fixed atoms never can: ASE relaxes them.
    """
    if importlib.util.find_spec("torch_sim") is None:
        return "torch-sim is not installed (pip install 'equinet-mlip[torchsim]')"
    if settings.keep_symmetry:
        return "ASE keeps the symmetry"
    if not _has(settings.optimizer):
        return f"this torch-sim has no {settings.optimizer.upper()}"
    return None


def relax_one_by_one(
    structures: Sequence[tuple[int, Atoms]], potential: Potential, settings: Settings
) -> Iterator[Relaxed]:
    """Relax with ASE, in order."""
    calculator = Calculator(potential)
    method = relax_cell if settings.cell else relax
    for index, atoms in structures:
        try:
            found = method(
                atoms,
                calculator,
                settings.fmax,
                settings.max_steps,
                settings.optimizer,
                keep_symmetry=settings.keep_symmetry,
            )
        except InputError as error:
            yield Relaxed(index, atoms, False, 0, float("nan"), str(error))
            continue
        end = without_results(found.atoms)
        names = ("energy", "free_energy", "forces", "stress")
        results = {name: value for name, value in calculator.results.items() if name in names}
        end.set_constraint(atoms.constraints)
        end.calc = SinglePointCalculator(end, **results)
        yield Relaxed(index, end, found.converged, found.steps, found.largest_force)


def relax_in_batches(
    structures: Sequence[tuple[int, Atoms]],
    model: Any,
    settings: Settings,
    max_atoms: int,
) -> Iterator[Relaxed]:
    """Relax with torch-sim, as they are done.

    Args:
        structures: with their numbers, which results carry; any kinds, mixed.
        model: a :class:`equinet.TorchSimModel`.
        settings: of the relaxations, which :func:`why_one_by_one` has nothing against.
        max_atoms: in a batch at once.
    """
    from torch_sim import InFlightAutoBatcher

    waiting = []
    for index, atoms in structures:
        if settings.cell and not (atoms.pbc.all() and atoms.cell.rank == 3):
            reason = (
                f"cannot relax the cell of a structure with periodic directions {atoms.pbc.tolist()}: it has no stress"
            )
            yield Relaxed(index, atoms, False, 0, float("nan"), reason)
        else:
            waiting.append((index, without_results(atoms)))
    if not waiting:
        return
    run = _Run(waiting, model, settings)
    largest = max(len(atoms) for _, atoms in waiting)
    batcher = InFlightAutoBatcher(model, memory_scales_with="n_atoms", max_memory_scaler=float(max(max_atoms, largest)))
    batcher.load_states(run.starts(max_atoms))
    state, done = None, None
    while True:
        state = batcher.next_batch(state, done)[0]
        if state is None:
            return
        run.enter(list(batcher.current_idx))
        state, done, ended = run.advance(state)
        yield from ended


class _Run:
    """Systems under way: where each is, and when it is done."""

    def __init__(self, structures: Sequence[tuple[int, Atoms]], model: Any, settings: Settings) -> None:
        self.structures, self.model, self.settings = structures, model, settings
        self.init, self.step = _optimizer(model, settings)
        self.steps = np.zeros(len(structures), dtype=np.int64)
        self.volumes = [abs(np.linalg.det(atoms.cell)) for _, atoms in structures]
        self.pbc = torch.tensor(np.stack([atoms.pbc for _, atoms in structures]), device=model.device)
        self.current: list[int] = []

    def starts(self, max_atoms: int) -> Iterator[Any]:
        """States of single systems, evaluated many at once."""
        from equinet.simulate.torchsim import state_of

        first = 0
        for batch in in_batches(list(self.structures), max_atoms):
            before, self.model.pbc = self.model.pbc, self.pbc[first : first + len(batch)]
            first += len(batch)
            states = self.init(state_of([atoms for _, atoms in batch], self.model)).split()
            self.model.pbc = before
            yield from states

    def enter(self, current: list[int]) -> None:
        """These systems are in the batch."""
        self.current = current
        self.model.pbc = self.pbc[current]

    def advance(self, state: Any) -> tuple[Any, torch.Tensor, list[Relaxed]]:
        """Some steps; the state, which systems are done [B], and how."""
        ended: dict[int, Relaxed] = {}
        for taken in range(STEPS_BETWEEN_SWAPS + 1):
            self._judge(state, ended)
            if len(ended) == len(self.current) or taken == STEPS_BETWEEN_SWAPS:
                break
            before = state.positions.clone()
            try:
                state = self.step(state)
            except InputError as error:
                self._abandon(state, before, error, ended)
                break
            self.steps[[number for place, number in enumerate(self.current) if place not in ended]] += 1
        done = torch.tensor([place in ended for place in range(len(self.current))], device=state.positions.device)
        return state, done, list(ended.values())

    def _abandon(self, state: Any, before: torch.Tensor, error: InputError, ended: dict[int, Relaxed]) -> None:
        """Put the systems back that the model could not take; they have failed, the others go on."""
        failed = False
        for place, number in enumerate(self.current):
            self.model.pbc = self.pbc[[number]]
            try:
                self.model(state[[place]])
            except InputError as own:
                failed = True
                index, start = self.structures[number]
                reason = f"at step {self.steps[number] + 1}: {str(own).removeprefix('system 0: ')}"
                ended.setdefault(place, Relaxed(index, start, False, int(self.steps[number]), float("nan"), reason))
                rows = state.system_idx == place
                state.positions[rows] = before[rows]
        if not failed:
            raise error
        self.model.pbc = self.pbc[self.current]
        results = self.model(state)
        state.energy, state.forces = results["energy"], results["forces"]

    def _judge(self, state: Any, ended: dict[int, Relaxed]) -> None:
        """Note the systems that have come to an end, as they are now."""
        largest = self._largest_forces(state)
        volumes = torch.linalg.det(state.cell).abs().cpu().numpy()
        for place, number in enumerate(self.current):
            if place in ended:
                continue
            failure = None
            if not largest[place] < FARTHEST:
                failure = (
                    f"the relaxation left the model's domain at step {self.steps[number]}: the largest force is "
                    f"{largest[place]:.3g} eV/A"
                )
            elif self.settings.cell and volumes[place] < SMALLEST * self.volumes[number]:
                failure = f"the cell collapsed at step {self.steps[number]}: {volumes[place]:.4g} A^3 are left"
            converged = bool(largest[place] <= self.settings.fmax)
            if failure is not None or converged or self.steps[number] >= self.settings.max_steps:
                index, start = self.structures[number]
                atoms = start if failure else self._atoms(state, place, start)
                ended[place] = Relaxed(index, atoms, converged, int(self.steps[number]), float(largest[place]), failure)

    def _largest_forces(self, state: Any) -> np.ndarray:
        forces = state.forces.norm(dim=1)
        largest = torch.zeros_like(state.energy).scatter_reduce(0, state.system_idx, forces, "amax")
        if self.settings.cell:
            largest = torch.maximum(largest, state.cell_forces.norm(dim=2).amax(dim=1))
        values: np.ndarray = largest.cpu().numpy()
        return values

    def _atoms(self, state: Any, place: int, start: Atoms) -> Atoms:
        rows = state.system_idx == place
        atoms = start.copy()
        atoms.set_cell(state.cell[place].mT.cpu().numpy())
        atoms.positions[:] = state.positions[rows].cpu().numpy()
        results = {"energy": float(state.energy[place]), "forces": state.forces[rows].cpu().numpy()}
        if self.settings.cell:
            results["stress"] = full_3x3_to_voigt_6_stress(state.stress[place].cpu().numpy())
        atoms.calc = SinglePointCalculator(atoms, **results)
        return atoms


def _has(optimizer: str) -> bool:
    """Whether the installed torch-sim has an optimizer; 0.3 has FIRE alone."""
    import torch_sim

    return hasattr(torch_sim.optimizers, f"{optimizer}_init") or optimizer == "fire"


def _optimizer(model: Any, settings: Settings) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Start and step, by the names that the installed torch-sim has: 0.6 and newer, or 0.3."""
    import torch_sim
    from torch_sim import optimizers

    name = settings.optimizer
    if not hasattr(optimizers, f"{name}_init"):
        make = optimizers.unit_cell_fire if settings.cell else optimizers.fire
        init, step = make(model=model, md_flavor="ase_fire")
        return init, step
    init, step = (getattr(optimizers, f"{name}_{what}") for what in ("init", "step"))
    options: dict[str, Any] = {"cell_filter": torch_sim.CellFilter.unit if settings.cell else None}
    if name == "lbfgs":
        options["alpha"] = 70.0  # ASE's first guess of the curvature, eV/A^2; its own takes far steps to other minima
    return lambda state: init(state, model, **options), lambda state: step(state, model)
