"""Energy over long dynamics: the proof that forces are smooth, conservative and precise enough. Minutes long."""

import ase.build
import numpy as np
import pytest
import torch

from equinet.data import collate_examples, compute_statistics, make_example, read_records, samples
from equinet.models import NequIPArchitecture, Potential
from equinet.simulate import Calculator, drift, run_md

STEPS = 10_000
TIMESTEP = 0.5  # fs


@pytest.fixture(scope="module")
def silicon() -> Potential:
    """A potential of silicon, trained for a minute on the sample: a crystal that holds together."""
    records = read_records(samples.path("silicon", "train"))
    statistics = compute_statistics(records, 4.0)
    torch.manual_seed(0)
    potential = Potential(
        NequIPArchitecture(
            cutoff=4.0, layers=2, l_max=2, channels=16, parity="natural", mean_neighbors=statistics.mean_neighbors
        ),
        species=list(statistics.species),
        isolated_energies=list(statistics.isolated_energies),
        scale=statistics.force_rms,
        shift=list(statistics.shift),
    )
    examples = [make_example(record, 4.0) for record in records]
    optimizer = torch.optim.Adam(potential.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    rng = np.random.default_rng(0)
    for _ in range(400):
        batch = collate_examples([examples[i] for i in rng.choice(len(examples), 8, replace=False)])
        prediction = potential(batch.graph)
        atoms = torch.bincount(batch.graph.batch)
        energy = ((prediction.energy - batch.labels.energy) / atoms / statistics.energy_rms_per_atom).square().mean()
        forces = ((prediction.forces - batch.labels.forces) / statistics.force_rms).square().mean()
        optimizer.zero_grad()
        (energy + forces).backward()
        optimizer.step()
        schedule.step()
    return potential.eval()


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "most"), [("float32", 0.02), ("float64", 0.002)])
def test_drift_over_5_ps(silicon: Potential, dtype: str, most: float) -> None:
    """|slope| + its error in meV/atom/ps, 64 atoms, from 600 K on the perfect lattice, after 0.5 ps."""
    atoms = ase.build.bulk("Si", cubic=True, a=5.48) * (2, 2, 2)
    run = run_md(
        atoms,
        Calculator(silicon, dtype=dtype),
        ensemble="nve",
        timestep=TIMESTEP,
        steps=STEPS,
        temperature=600.0,
        seed=0,
    )
    settled = run.times >= 0.5
    found = drift(run.times[settled], run.total_energies[settled] / len(atoms))
    value = abs(found.slope) + found.error
    assert value < most, f"{found.slope:+.2e} +- {found.error:.1e} meV/atom/ps in {dtype}"
    print(f"drift in {dtype}: {found.slope:+.2e} +- {found.error:.1e} meV/atom/ps")
