"""The model for torch-sim: its own validator, our calculator's numbers, its dynamics and relaxations."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk as crystal
from ase.md.verlet import VelocityVerlet
from ase.units import fs

import equinet
from equinet.errors import InputError
from equinet.models import NequIPArchitecture, Potential
from equinet.simulate import Calculator, relax, relax_cell, thermalize
from equinet.simulate.structures import bulk, molecule, slab, triclinic, wire
from equinet.simulate.verify import rattled
from tests.simulate.conftest import small_potential

ts = pytest.importorskip("torch_sim", reason="torch-sim is not installed (the extra 'torchsim')")
from torch_sim.models.interface import validate_model_outputs  # noqa: E402

from tests.simulate.torchsim_calls import integrate_nve, moving, optimize, state_of  # noqa: E402

CPU = torch.device("cpu")
CUBE = Atoms("Si", cell=2.6 * np.eye(3), pbc=True)
CRYSTALS = [bulk([6, 14], 1), triclinic([6, 14], 2), crystal("Si", cubic=True), CUBE]
OPEN = [molecule([6, 14], 1), Atoms("Si"), molecule([14], 2), Atoms("C2", [[0, 0, 0], [1.3, 0, 0]])]
BATCHES = {
    "crystals": CRYSTALS,
    "molecules": OPEN,
    "slabs": [slab([6, 14], 1), slab([14], 2)],
    "wires": [wire([6, 14], 1), wire([14], 2)],
}


def model_of(potential=None, **options):
    return equinet.TorchSimModel(potential or small_potential(), **options)


def rattled_silicon():
    """Cells of 8, 2 and 4 atoms."""
    cells = [crystal("Si", cubic=True), crystal("Si"), crystal("Si") * (1, 2, 1)]
    return [rattled(cell, 0.06, seed) for seed, cell in enumerate(cells)]


@pytest.mark.parametrize("state", [torch.float32, torch.float64], ids=["float32 state", "float64 state"])
@pytest.mark.parametrize("weights", ["float32", "float64"])
def test_torch_sim_s_validator_passes(weights, state):
    torch.manual_seed(1)
    potential = Potential(
        NequIPArchitecture(cutoff=4.5, layers=2, l_max=1, channels=4, mean_neighbors=15.0),
        species=[1, 6, 12, 14, 26],
        isolated_energies=[-1.0, -10.0, -5.0, -20.0, -30.0],
        scale=2.0,
    ).eval()
    model = model_of(potential, dtype=weights, state_dtype=state)
    assert model.dtype == state
    validate_model_outputs(model, CPU, state)


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_batch_has_the_calculator_s_numbers(name, dtype):
    systems = BATCHES[name]
    state = state_of(systems)
    results = model_of(dtype=dtype)(state)
    calculator = Calculator(small_potential(), dtype=dtype)
    close = {"rtol": 0, "atol": 1e-10 if dtype == "float64" else 2e-5}
    assert np.abs(results["forces"].numpy()).max() > 0.1
    for system, atoms in enumerate(systems):
        atoms = atoms.copy()
        atoms.calc = calculator
        np.testing.assert_allclose(results["energy"][system], atoms.get_potential_energy(), **close)
        np.testing.assert_allclose(results["forces"][state.system_idx == system], atoms.get_forces(), **close)
        if name == "crystals":
            np.testing.assert_allclose(results["stress"][system], atoms.get_stress(voigt=False), **close)
            assert np.abs(atoms.get_stress()).max() > 1e-3
        else:
            assert results["stress"][system].isnan().all()


def test_a_system_alone_equals_it_in_a_batch():
    together = model_of()(state_of(CRYSTALS))
    start = 0
    for system, atoms in enumerate(CRYSTALS):
        alone = model_of()(state_of([atoms]))
        rows, mine = slice(start, start := start + len(atoms)), slice(system, system + 1)
        for name, kept in {"energy": mine, "stress": mine, "forces": rows}.items():
            torch.testing.assert_close(alone[name], together[name][kept], rtol=0, atol=1e-12)


def test_a_state_in_float32_is_computed_in_float64():
    model = model_of()
    single = state_of(CRYSTALS, torch.float32)
    results, same_in_double = model(single), model(single.clone().to(dtype=torch.float64))
    for name, values in results.items():
        assert values.dtype == torch.float32
        assert torch.equal(values, same_in_double[name].to(torch.float32))
        assert same_in_double[name].dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32


def test_forces_and_stress_can_be_left_out():
    model = model_of()
    state = state_of(CRYSTALS)
    assert set(model(state)) == {"energy", "forces", "stress"}
    model.compute_stress = False
    assert set(model(state)) == {"energy", "forces"}
    model.compute_forces = False
    assert set(model(state)) == {"energy"}
    assert not model.compute_stress


def test_dynamics_of_a_batch_are_those_of_each_system_and_of_ase():
    systems = rattled_silicon()
    for seed, atoms in enumerate(systems):
        thermalize(atoms, 600.0, seed)
    model = model_of()
    start = moving(systems, model)
    end = integrate_nve(start, model, steps=60, timestep=1.0)
    assert 2 <= model.neighbors.searches < 8
    for system, atoms in enumerate(systems):
        alone = integrate_nve(moving([atoms], model), model_of(), steps=60, timestep=1.0)
        mine = end.system_idx == system
        torch.testing.assert_close(alone.positions, end.positions[mine], rtol=0, atol=1e-10)
        torch.testing.assert_close(alone.momenta, end.momenta[mine], rtol=0, atol=1e-10)
        kinetic = [0.5 * (s.momenta[mine] ** 2 / s.masses[mine][:, None]).sum() for s in (start, end)]
        potential = [start.energy[system], end.energy[system]]
        assert abs(potential[1] - potential[0]) > 0.01
        assert abs(sum(potential[:1] + kinetic[:1]) - sum(potential[1:] + kinetic[1:])) < 5e-5 * len(atoms)
        atoms.calc = Calculator(small_potential())
        VelocityVerlet(atoms, 1.0 * fs).run(60)
        apart = (end.positions[mine].numpy() - atoms.positions) @ np.linalg.inv(atoms.cell)
        np.testing.assert_allclose((apart - apart.round()) @ atoms.cell, 0.0, atol=1e-10)  # torch-sim wraps positions


def test_relaxations_of_a_batch_reach_ase_s_minima():
    systems = rattled_silicon()
    model = model_of()
    end = optimize(systems, model, fmax=2e-4)
    for system, atoms in enumerate(systems):
        found = relax(atoms, Calculator(small_potential()), fmax=2e-4, max_steps=2000)
        assert found.converged
        assert float(model(state_of([atoms]))["energy"]) > found.energy + 1e-2
        assert float(end.energy[system]) == pytest.approx(found.energy, abs=1e-5)
        assert float(end.forces[end.system_idx == system].norm(dim=1).max()) < 2e-4


def test_cells_relax_to_ase_s_too():
    systems = rattled_silicon()[:2]
    end = optimize(systems, model_of(), fmax=1e-3, cell=True)
    for system, atoms in enumerate(systems):
        found = relax_cell(atoms, Calculator(small_potential()), fmax=1e-3)
        assert found.converged
        assert abs(found.atoms.get_volume() / atoms.get_volume() - 1) > 0.01
        assert float(end.energy[system]) == pytest.approx(found.energy, abs=1e-4)
        assert abs(float(torch.linalg.det(end.cell[system]))) == pytest.approx(found.atoms.get_volume(), rel=1e-3)


def test_the_autobatcher_swaps_systems_in_and_out():
    systems = rattled_silicon()
    together = optimize(systems, model_of(), fmax=2e-2)
    model = model_of()
    assert model.memory_scales_with == "n_atoms_x_density"
    largest = max(atoms.get_global_number_of_atoms() ** 2 / atoms.get_volume() * 1000 for atoms in systems)
    batcher = ts.InFlightAutoBatcher(
        model, memory_scales_with=model.memory_scales_with, max_memory_scaler=1.2 * largest
    )
    sizes = []
    model.register_forward_hook(lambda _, arguments, results: sizes.append(len(results["energy"])))
    in_turn = optimize(systems, model, fmax=2e-2, autobatcher=batcher)
    assert max(sizes) < len(systems)
    torch.testing.assert_close(in_turn.energy, together.energy, rtol=0, atol=1e-8)
    torch.testing.assert_close(in_turn.positions, together.positions, rtol=0, atol=1e-6)


def test_a_skin_changes_no_bit():
    state, models = state_of(CRYSTALS), [model_of(skin=skin) for skin in (0.0, 0.6)]
    for _ in range(5):
        results = [model(state) for model in models]
        assert all(torch.equal(values, results[1][name]) for name, values in results[0].items())
        state.positions += 0.02 * torch.randn_like(state.positions)
    assert [model.neighbors.searches for model in models] == [5, 1]


def test_one_level_of_theory_of_several():
    torch.manual_seed(2)
    architecture = NequIPArchitecture(
        cutoff=4.0, layers=1, l_max=1, channels=4, mean_neighbors=12.0, modals=["PBE", "R2SCAN"]
    )
    potential = Potential(architecture, [6, 14], [[-1.0, -2.0], [-3.0, -4.0]], scale=1.0, dtype=torch.float64)
    energies = []
    for modal in potential.modals:
        energies.append(float(model_of(potential, modal=modal)(state_of(CRYSTALS[:1]))["energy"]))
        expected = Calculator(potential, modal=modal).get_property("energy", CRYSTALS[0])
        assert energies[-1] == pytest.approx(expected, abs=1e-10)
    assert abs(energies[0] - energies[1]) > 1.0
    with pytest.raises(InputError, match="levels of theory PBE, R2SCAN"):
        model_of(potential)


def test_from_a_file(model_file):
    state = state_of(CRYSTALS)
    assert torch.equal(equinet.TorchSimModel(model_file)(state)["forces"], model_of()(state)["forces"])


def test_errors_are_one_clear_line_and_name_the_system():
    model = model_of()
    dimer = [[0, 0, 0], [0, 0, 1.6]]
    with pytest.raises(InputError, match=r"^system 1: the potential does not know O; it was trained for C, Si$"):
        model(state_of([Atoms("Si2", dimer), Atoms("SiO", dimer)]))
    with pytest.raises(InputError, match="system 1: atoms 0 and 1 are at one place"):
        model(state_of([Atoms("Si2", dimer), Atoms("Si2", np.zeros((2, 3)))]))
    with pytest.raises(InputError, match="the state is on meta and the model on cpu"):
        model(SimpleNamespace(positions=torch.zeros(1, 3, device="meta")))
    with pytest.raises(InputError, match="dtype"):
        model_of(state_dtype="float16")
    model(state_of([Atoms("Si2", dimer)]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_numbers():
    here, there = model_of(), model_of(device="cuda")
    state = state_of(CRYSTALS)
    on_gpu = there(state.clone().to(device=there.device))
    for name, values in here(state).items():
        torch.testing.assert_close(on_gpu[name].cpu(), values, rtol=1e-10, atol=1e-10)
    validate_model_outputs(there, there.device, torch.float64)
