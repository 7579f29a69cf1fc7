"""The ensembles are those that their names say: physical_validation's checks of batched dynamics, and conservation.

A fluid of small soft spheres, of which many systems move at once; between the samples of a system lies more than its
memory, which is checked.
"""

import numpy as np
import pytest
import torch
from ase import Atoms, units

from equinet.simulate import Ensemble, thermalize
from equinet.simulate.propagation import Propagator

pytest.importorskip("torch_sim", reason="torch-sim is not installed (the extra 'torchsim')")
pv = pytest.importorskip("physical_validation", reason="physical_validation is not installed")
from equinet.simulate.torchsim_engine import TorchSimEngine  # noqa: E402
from equinet.units import EV_PER_A3_IN_GPA  # noqa: E402

EPSILON, SIGMA, SIDE = 0.0104, 3.4, 3
"""eV and Angstrom, as argon's; atoms along each edge."""
ATOMS = SIDE**3
REACH = 2 ** (1 / 6) * SIGMA
SIGMAS = 3.0
"""Deviation allowed, in standard errors, as physical_validation counts them."""


class SoftSpheres(torch.nn.Module):
    """Weeks, Chandler and Andersen's repulsive part of Lennard-Jones, of equal systems in cubes (mean stress)."""

    device, dtype, pbc = torch.device("cpu"), torch.float64, None

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.triu_indices(ATOMS, ATOMS, 1)
        ones = torch.eye(ATOMS, dtype=torch.float64)
        self.sides = ones[self.first] - ones[self.second]  # [pairs, atoms]

    def forward(self, state):
        positions = state.positions.reshape(-1, ATOMS, 3)
        length = state.cell[:, 0, 0, None, None]
        apart = positions[:, self.first] - positions[:, self.second]  # [systems, pairs, 3]
        apart = apart - (apart / length).round() * length
        squares = (apart**2).sum(dim=-1)
        sixth = torch.where(squares < REACH**2, (SIGMA**2 / squares) ** 3, 0.5)  # at its reach both vanish
        energy = (4 * EPSILON * (sixth**2 - sixth) + EPSILON).sum(dim=1)
        pull = 24 * EPSILON * (2 * sixth**2 - sixth) / squares
        forces = torch.einsum("pa,bpx->bax", self.sides, pull[..., None] * apart)
        pressure = (pull * squares).sum(dim=1) / (3 * length[:, 0, 0] ** 3)
        stress = -pressure[:, None, None] * torch.eye(3, dtype=torch.float64)
        return {"energy": energy, "forces": forces.reshape(-1, 3), "stress": stress}


def fluids(count, spacing):
    corners = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3), axis=-1).reshape(-1, 3)
    cell = SIDE * spacing * np.eye(3)
    return [Atoms(f"Ar{ATOMS}", corners * spacing, cell=cell, pbc=True) for _ in range(count)]


def begun(ensemble, count=64, spacing=1.15 * SIGMA):
    systems = fluids(count, spacing)
    for number, atoms in enumerate(systems):
        thermalize(atoms, ensemble.temperature, [ensemble.seed, 2, number])
    return Propagator(TorchSimEngine(systems, SoftSpheres(), ensemble), systems, ensemble, range(count))


def sampled(ensemble, rest, samples, apart, **start):
    """Kinetic and potential energies and volumes [samples, systems], samples that many steps apart."""
    propagator = begun(ensemble, **start)
    taken = []
    with torch.random.fork_rng():
        for step in range(1, rest + samples * apart + 1):
            propagator._step()
            if step > rest and (step - rest) % apart == 0:
                engine = propagator.engine
                taken.append((engine.kinetic(), engine.potential(), np.linalg.det(engine.cells())))
    values = np.moveaxis(np.array(taken), 1, 0)
    for value in values:
        if np.ptp(value) > 1e-6:  # a volume may be held
            error = 1 / np.sqrt(value[1:].size)
            assert abs(memory(value)) < 0.1 + 2 * error, "samples of a system are correlated"
    return values


def memory(values):
    """Correlation of each system's successive samples about the common mean."""
    centred = values - values.mean()
    return float((centred[1:] * centred[:-1]).mean() / centred.var())


def validation_data(ensemble, kinetic, potential, volumes, resting):
    fixed = (
        {"volume": float(volumes.flat[0])}
        if ensemble.name == "nvt"
        else {"pressure": ensemble.pressure / EV_PER_A3_IN_GPA}
    )
    return pv.data.SimulationData(
        units=pv.data.UnitData(
            kb=units.kB,
            energy_str="eV",
            energy_conversion=96.48533,
            length_str="A",
            length_conversion=0.1,
            volume_str="A^3",
            volume_conversion=1e-3,
            temperature_str="K",
            temperature_conversion=1.0,
            pressure_str="eV/A^3",
            pressure_conversion=EV_PER_A3_IN_GPA * 1e4,
            time_str="fs",
            time_conversion=1e-3,
        ),
        system=pv.data.SystemData(
            natoms=ATOMS, nconstraints=0, ndof_reduction_tra=3 if resting else 0, ndof_reduction_rot=0
        ),
        ensemble=pv.data.EnsembleData(
            ensemble=ensemble.name.upper(), natoms=ATOMS, temperature=ensemble.temperature, **fixed
        ),
        observables=pv.data.ObservableData(
            kinetic_energy=kinetic.ravel(),
            potential_energy=potential.ravel(),
            total_energy=(kinetic + potential).ravel(),
            volume=volumes.ravel(),
        ),
    )


def check_kinetic_energies(data):
    means, widths = pv.kinetic_energy.distribution(
        data, strict=False, verbosity=0, bootstrap_seed=1, data_is_uncorrelated=True
    )
    assert abs(means) < SIGMAS
    assert abs(widths) < SIGMAS


@pytest.mark.parametrize("samples", [4, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("thermostat", ["langevin", "bussi", "nose-hoover"])
def test_constant_temperature(thermostat, samples):
    both = []
    for temperature in (120.0, 150.0):
        ensemble = Ensemble(
            "nvt", 5.0, temperature, thermostat, friction=0.01, thermostat_time=50.0, seed=int(temperature)
        )
        values = sampled(ensemble, 200, samples, apart=150)
        both.append(validation_data(ensemble, *values, resting=thermostat != "langevin"))
        check_kinetic_energies(both[-1])
    for total in (False, True):
        slopes = pv.ensemble.check(*both, total_energy=total, verbosity=0, bootstrap_seed=1, data_is_uncorrelated=True)
        assert np.abs(slopes).max() < SIGMAS


@pytest.mark.parametrize("samples", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_constant_pressure(samples):
    both = []
    for pressure in (0.2, 0.25):
        ensemble = Ensemble(
            "npt",
            5.0,
            120.0,
            "bussi",
            thermostat_time=50.0,
            pressure=pressure,
            barostat_time=500.0,
            compressibility=1.0,
            barostat_interval=2,
            seed=int(100 * pressure),
        )
        values = sampled(ensemble, 400, samples, apart=400)
        both.append(validation_data(ensemble, *values, resting=True))
        check_kinetic_energies(both[-1])
    slopes = pv.ensemble.check(*both, verbosity=0, bootstrap_seed=1, data_is_uncorrelated=True)
    assert np.abs(slopes).max() < SIGMAS


def test_a_wrong_ensemble_is_seen():
    """The checks above could fail: of a bath that is told of 3N degrees of freedom where the centre of mass rests."""
    ensemble = Ensemble("nvt", 5.0, 120.0, "nose-hoover", thermostat_time=50.0)
    propagator = begun(ensemble, count=300)
    propagator.thermostat.freedoms = propagator.thermostat.freedoms + 3
    kinetic = []
    for step in range(350):
        propagator._step()
        if step in (200, 349):
            kinetic.append(propagator.engine.kinetic())
    kinetic = np.array(kinetic)
    data = validation_data(ensemble, kinetic, kinetic, np.ones_like(kinetic), resting=True)
    means, _ = pv.kinetic_energy.distribution(
        data, strict=False, verbosity=0, bootstrap_seed=1, data_is_uncorrelated=True
    )
    assert abs(means) > SIGMAS


@pytest.mark.parametrize("thermostat", [None, "nose-hoover"])
def test_time_can_be_turned_round(thermostat):
    settings = (
        {"name": "nve"} if thermostat is None else {"name": "nvt", "thermostat": thermostat, "thermostat_time": 50.0}
    )
    propagator = begun(Ensemble(timestep=5.0, temperature=120.0, **settings), count=4)
    start = propagator.engine.snapshot()
    for _ in range(100):
        propagator._step()
    turned = propagator.engine.snapshot()
    assert (turned.positions - start.positions).abs().max() > 0.3
    propagator.engine.scale_momenta(np.full(4, -1.0))
    if thermostat is not None:
        propagator.thermostat.momenta = -propagator.thermostat.momenta
    for _ in range(100):
        propagator._step()
    end = propagator.engine.snapshot()
    torch.testing.assert_close(end.positions, start.positions, rtol=0, atol=1e-9)
    torch.testing.assert_close(end.momenta, -start.momenta, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "settings",
    [{"name": "nve"}, {"name": "nvt", "thermostat": "bussi"}, {"name": "nvt", "thermostat": "nose-hoover"}],
    ids=str,
)
def test_momentum_and_energy_are_conserved(settings):
    propagator = begun(Ensemble(timestep=2.0, temperature=120.0, **settings), count=8)
    held = []
    for _ in range(400):
        propagator._step()
        engine = propagator.engine
        energy = engine.potential() + engine.kinetic()
        if settings.get("thermostat") == "nose-hoover":
            energy = energy + propagator.thermostat.energy()
        held.append(energy)
    momenta = propagator.engine.snapshot().momenta.reshape(8, ATOMS, 3)
    assert momenta.sum(dim=1).abs().max() < 1e-11
    if settings.get("thermostat") != "bussi":
        assert np.ptp(held, axis=0).max() < 0.02 * ATOMS * units.kB * 120.0
        assert engine.kinetic().std() > 0.02 * ATOMS * units.kB * 120.0
