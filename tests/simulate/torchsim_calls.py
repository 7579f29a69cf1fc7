"""torch-sim's dynamics and relaxations by the names that the installed version has: 0.3, or 0.6 and newer."""

from importlib.metadata import version

import torch
import torch_sim as ts
from torch_sim.integrators.md import MDState

NEWER = tuple(int(part) for part in version("torch-sim-atomistic").split(".")[:2]) >= (0, 4)


def state_of(systems, dtype=torch.float64):
    """The state of ASE's Atoms, with their periodic directions (torch-sim 0.3 itself keeps all three or none)."""
    state = ts.initialize_state(systems, torch.device("cpu"), dtype)
    state.pbc = torch.from_numpy(systems[0].pbc)
    return state


def moving(systems, model):
    """The state of ASE's Atoms with their momenta, whose unit is torch-sim's too."""
    state = state_of(systems)
    results = model(state)
    return MDState(
        positions=state.positions,
        masses=state.masses,
        cell=state.cell,
        pbc=True,
        atomic_numbers=state.atomic_numbers,
        system_idx=state.system_idx,
        momenta=torch.cat([torch.from_numpy(atoms.get_momenta()) for atoms in systems]),
        energy=results["energy"],
        forces=results["forces"],
    )


def integrate_nve(state, model, steps, timestep):
    """Velocity Verlet from the momenta of a state; timestep in fs."""
    integrator = ts.Integrator.nve if NEWER else ts.integrators.nve
    return ts.integrate(
        state, model, integrator=integrator, n_steps=steps, timestep=1e-3 * timestep, temperature=0.0 if NEWER else 1.0
    )


def optimize(systems, model, fmax, cell=False, autobatcher=False):
    """FIRE as ASE has it, of the positions or of positions and cells."""
    converged = ts.generate_force_convergence_fn(fmax, include_cell_forces=cell)
    flavor = "ase_fire"
    if NEWER:
        options = {"fire_flavor": flavor, "cell_filter": ts.CellFilter.frechet if cell else None}
        how = {"optimizer": ts.Optimizer.fire, "init_kwargs": options}
    else:
        how = {"optimizer": ts.frechet_cell_fire if cell else ts.optimizers.fire, "md_flavor": flavor}
    return ts.optimize(systems, model, convergence_fn=converged, max_steps=2000, autobatcher=autobatcher, **how)
