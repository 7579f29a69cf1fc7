"""Many systems that torch-sim moves at once, behind the face of :class:`equinet.simulate.engine.Engine`."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch_sim
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray
from torch import Tensor
from torch_sim.integrators.md import MDState

from equinet.errors import InputError
from equinet.simulate.engine import State
from equinet.simulate.ensembles import Ensemble
from equinet.simulate.torchsim import TorchSimModel, state_of
from equinet.simulate.watch import Bars

Array = NDArray[np.float64]


class Snapshot(NamedTuple):
    """Tensors that torch-sim replaces and does not change."""

    positions: Tensor
    momenta: Tensor
    cell: Tensor
    energy: Tensor
    forces: Tensor
    stress: Tensor


class TorchSimEngine:
    """Structures of any kind, moved together.

    Positions are not wrapped into the cells, so that trajectories are continuous.

    Args:
        structures: with velocities.
        model: of torch-sim.
        ensemble: whose time step and friction count.
        stream: another number for other structures: of the Langevin thermostat's random numbers.
    """

    def __init__(self, structures: Sequence[Atoms], model: TorchSimModel, ensemble: Ensemble, stream: int = 0) -> None:
        self.structures = list(structures)
        self._model = model
        self._results: dict[str, Tensor] = {}
        self._pbc = model.pbc = torch.tensor(np.stack([atoms.pbc for atoms in structures]), device=model.device)
        start = state_of(structures, model)
        momenta = np.concatenate([atoms.get_momenta() for atoms in structures])
        results = self._evaluate(start)
        self._state = MDState(
            positions=start.positions,
            masses=start.masses,
            cell=start.cell,
            pbc=start.pbc,
            atomic_numbers=start.atomic_numbers,
            system_idx=start.system_idx,
            momenta=torch.as_tensor(momenta, dtype=start.positions.dtype, device=model.device),
            energy=results["energy"],
            forces=results["forces"],
        )
        self._advance = _stepper(self._evaluate_as_model(), ensemble)
        _seed_noise(self._state, int(np.random.SeedSequence([ensemble.seed, 3, stream]).generate_state(1)[0]))

    def __len__(self) -> int:
        return len(self.structures)

    def step(self) -> None:
        """See :class:`Engine`."""
        self._state = self._advance(self._state)

    def potential(self) -> Array:
        """See :class:`Engine`."""
        return _numpy(self._state.energy)

    def kinetic(self) -> Array:
        """See :class:`Engine`."""
        each = 0.5 * (self._state.momenta**2).sum(dim=1) / self._state.masses
        return _numpy(self._sum(each))

    def kinetic_tensors(self) -> Array:
        """See :class:`Engine`."""
        momenta = self._state.momenta
        return _numpy(self._sum(momenta[:, :, None] * momenta[:, None, :] / self._state.masses[:, None, None]))

    def finite(self) -> NDArray[np.bool_]:
        """See :class:`Engine`."""
        wrong = ~(self._state.forces.isfinite() & self._state.momenta.isfinite()).all(dim=1)
        good = (self._sum(wrong.to(self._state.energy.dtype)) == 0) & self._state.energy.isfinite()
        return good.cpu().numpy()

    def cells(self) -> Array:
        """See :class:`Engine`."""
        return _numpy(self._state.cell.mT)

    def virial_pressures(self) -> Array:
        """See :class:`Engine`."""
        return _numpy(-self._results["stress"])

    def scale_momenta(self, factors: Array) -> None:
        """See :class:`Engine`."""
        if (factors != 1.0).any():
            self._state.momenta = self._state.momenta * self._of_atoms(factors)

    def deform(self, deformations: Array) -> None:
        """See :class:`Engine`."""
        state = self._state
        each = torch.as_tensor(deformations, dtype=state.cell.dtype, device=state.cell.device)
        state.cell = each @ state.cell  # columns are lattice vectors
        state.positions = self._turned(state.positions, each)
        state.momenta = self._turned(state.momenta, torch.linalg.inv(each))
        results = self._evaluate(state)
        state.energy, state.forces = results["energy"], results["forces"]

    def snapshot(self) -> Snapshot:
        """See :class:`Engine`."""
        state = self._state
        return Snapshot(state.positions, state.momenta, state.cell, state.energy, state.forces, self._results["stress"])

    def frame(self, system: int, snapshot: Snapshot) -> Atoms:
        """See :class:`Engine`."""
        rows = self._state.system_idx == system
        frame = self.structures[system].copy()
        frame.set_cell(_numpy(snapshot.cell[system].mT))
        frame.positions[:] = _numpy(snapshot.positions[rows])
        frame.set_momenta(_numpy(snapshot.momenta[rows]))
        results: dict[str, Any] = {"energy": float(snapshot.energy[system]), "forces": _numpy(snapshot.forces[rows])}
        if frame.pbc.all():
            results["stress"] = full_3x3_to_voigt_6_stress(_numpy(snapshot.stress[system]))
        frame.calc = SinglePointCalculator(frame, **results)
        return frame

    def bars(self) -> list[Bars]:
        """Error bars of each system as it is now, by the model's uncertainty."""
        estimate = self._model.estimate(self._state)
        ends = np.cumsum([len(atoms) for atoms in self.structures])[:-1]
        per_atom = (np.split(values, ends) for values in (estimate.forces_std, estimate.support))
        return [Bars(float(energy), *each) for energy, *each in zip(estimate.energy_std, *per_atom, strict=True)]

    def back_to(self, snapshot: Snapshot) -> None:
        """Undo what followed a snapshot of the same systems."""
        names = ("positions", "momenta", "cell", "energy", "forces")
        for name in names:
            setattr(self._state, name, getattr(snapshot, name))
        self._results["stress"] = snapshot.stress

    def keep(self, systems: NDArray[np.int64]) -> None:
        """Go on with some of the systems."""
        chosen = torch.as_tensor(systems, device=self._state.positions.device)
        self.structures = [self.structures[system] for system in systems]
        self._results = {"stress": self._results["stress"][chosen]}
        self._state = self._state[systems.tolist()]
        self._pbc = self._model.pbc = self._pbc[chosen]

    def bad_systems(self, error: InputError) -> dict[int, str]:
        """See :class:`Engine`."""
        found = {}
        for system in range(len(self)):
            self._model.pbc = self._pbc[[system]]
            try:
                self._model(self._state[[system]])
            except InputError as own:
                found[system] = str(own).removeprefix("system 0: ")
        self._model.pbc = self._pbc
        if not found:
            raise error
        return found

    def state(self) -> State:
        """See :class:`Engine`."""
        names = ("positions", "momenta", "cell")
        arrays = {name: _numpy(getattr(self._state, name)) for name in names}
        return arrays | {"rng": _noise_state(self._state)}

    def restore(self, state: State) -> None:
        """See :class:`Engine`."""
        for name in ("positions", "momenta", "cell"):
            setattr(self._state, name, torch.as_tensor(np.array(state[name])).to(self._state.positions))
        results = self._evaluate(self._state)
        self._state.energy, self._state.forces = results["energy"], results["forces"]
        _restore_noise(self._state, torch.as_tensor(np.array(state["rng"])))

    def _evaluate(self, state: Any) -> dict[str, Tensor]:
        self._results = self._model(state)
        return self._results

    def _evaluate_as_model(self) -> Any:
        """The model, whose results are remembered: torch-sim's states have no stress."""
        return _Remembering(self._model, self._evaluate)

    def _sum(self, per_atom: Tensor) -> Tensor:
        zeros = per_atom.new_zeros(len(self), *per_atom.shape[1:])
        return zeros.index_add(0, self._state.system_idx, per_atom)

    def _turned(self, vectors: Tensor, matrices: Tensor) -> Tensor:
        """Vectors of the atoms, [N, 3], times the matrix of their system, [B, 3, 3]."""
        return (vectors[:, None, :] @ matrices[self._state.system_idx]).squeeze(1)

    def _of_atoms(self, per_system: Array) -> Tensor:
        values = torch.as_tensor(per_system, dtype=self._state.momenta.dtype, device=self._state.momenta.device)
        return values[self._state.system_idx, None]


@dataclasses.dataclass
class _Remembering:
    """What torch-sim's integrators ask of a model."""

    model: TorchSimModel
    evaluate: Callable[[Any], dict[str, Tensor]]

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    def __call__(self, state: Any) -> dict[str, Tensor]:
        return self.evaluate(state)


def _stepper(model: Any, ensemble: Ensemble) -> Callable[[Any], Any]:
    """A time step, by the names that the installed torch-sim has: 0.6 and newer, or 0.3."""
    integrators = torch_sim.integrators
    here = {"dtype": model.dtype, "device": model.device}
    constants = {"dt": torch.tensor(ensemble.timestep * units.fs, **here)}
    kind = "nve"
    if ensemble.bath == "langevin":
        kind = "nvt_langevin"
        constants["gamma"] = torch.tensor(ensemble.friction / units.fs, **here)
    energy = torch.tensor((ensemble.temperature or 0.0) * units.kB, **here)
    if hasattr(integrators, f"{kind}_step"):
        step = getattr(integrators, f"{kind}_step")
        thermal = {"kT": energy} if kind == "nvt_langevin" else {}
        return lambda state: step(state, model, **constants, **thermal)
    _, update = getattr(integrators, kind)(model=model, kT=energy, **constants)
    return update


def _seed_noise(state: Any, seed: int) -> None:
    """Of torch-sim's Langevin thermostat: the state has a generator of its own since 0.4, before it was torch's."""
    if hasattr(state, "rng"):
        state.rng.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _noise_state(state: Any) -> NDArray[np.uint8]:
    device = state.positions.device
    if hasattr(state, "rng"):
        found = state.rng.get_state()
    else:
        found = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
    return found.cpu().numpy()


def _restore_noise(state: Any, values: Tensor) -> None:
    device = state.positions.device
    if hasattr(state, "rng"):
        state.rng.set_state(values)
    elif device.type == "cuda":
        torch.cuda.set_rng_state(values, device)
    else:
        torch.set_rng_state(values)


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy().astype(np.float64)
