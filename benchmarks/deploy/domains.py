"""Message passing over the borders of a process's domain: what it costs by exchanging features of ghosts between
layers, and what by ghosts out to the model's reach, whose features the process computes itself.

    python benchmarks/deploy/domains.py model.safetensors

A periodic cube of silicon is one process's domain, its images are the ghosts. Exchange: ghosts within one cutoff, as
the LAMMPS plugin has it, rows copied between the layers. Reach: ghosts within layers times cutoff, edges to all within
one cutoff less. Both give the owned atoms' energies and their forces; seconds are medians of rounds in turn.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.inference.case import rattled
from benchmarks.rows import markdown_table
from equinet.bench.side import processor_name
from equinet.data import graph_from_atoms
from equinet.deploy.domain import as_domain, domain_script
from equinet.graph import AtomicGraph, build_graph
from equinet.models import Potential, load_model
from equinet.models.compilation import compile_potential
from equinet.models.compiled import CompiledNequIPArchitecture
from equinet_kernels import edge_topology, ghosts_of

ROUNDS = 5


def by_exchange(potential: Potential, graph: AtomicGraph) -> tuple[Callable[[], Tensor], int, int]:
    """The call, its atoms and its edges."""
    script, domain, owned = domain_script(potential), as_domain(graph), len(graph.numbers)

    def call() -> Tensor:
        with ghosts_of(domain.owners):
            _, forces, _, _ = script(*domain[:4], owned, False)
        return forces[:owned].clone().index_add_(0, domain.owners, forces[owned:])

    return call, len(domain.numbers), len(domain.senders)


def by_reach(potential: Potential, graph: AtomicGraph) -> tuple[Callable[[], Tensor], int, int]:
    """The call, its atoms and its edges."""
    reach, owned, cell = potential.architecture.reach, len(graph.numbers), graph.cell[0].numpy()
    copies = int(np.ceil(reach / np.linalg.norm(cell, axis=1).min())) + 1
    shifts = sorted(np.ndindex(*[2 * copies + 1] * 3), key=lambda s: s != (copies,) * 3)  # the domain comes first
    places = np.concatenate([graph.positions.numpy() + (np.array(s) - copies) @ cell for s in shifts])
    fractional = places @ np.linalg.inv(cell)
    outside = np.maximum(0.0, np.maximum(-fractional, fractional - 1.0)) @ cell  # of a box with right angles
    distance = np.linalg.norm(outside, axis=1)
    seen = np.flatnonzero(distance <= reach)
    numbers = np.tile(graph.numbers.numpy(), len(shifts))[seen]
    whole = build_graph(places[seen], numbers, np.zeros((3, 3)), [False] * 3, potential.cutoff)
    kept = torch.from_numpy(distance[seen] <= reach - potential.cutoff)[whole.receivers]
    cluster = whole._replace(**{name: getattr(whole, name)[kept] for name in ("senders", "receivers", "images")})
    owners = torch.from_numpy(seen % owned)
    topology = edge_topology(cluster.senders, cluster.receivers, len(seen))

    def call() -> Tensor:
        # of the owned atoms' energies alone: each owner adds its own
        with torch.enable_grad():
            positions = cluster.positions.detach().requires_grad_()
            vectors = potential.edge_vectors(positions, cluster.cell, cluster.batch, cluster.images, topology)
            energies, _ = potential.from_vectors(vectors, cluster.numbers, topology, len(seen), None)
            (gradient,) = torch.autograd.grad(energies[0, :owned].sum(), positions)
        return torch.zeros(owned, 3, dtype=torch.float64).index_add_(0, owners, -gradient)

    return call, len(seen), int(kept.sum())


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model file that knows silicon")
    parser.add_argument("--structures", nargs="+", default=["Si 64", "Si 512"], metavar="NAME")
    arguments = parser.parse_args()
    potential = load_model(arguments.model)
    if not isinstance(potential.architecture, CompiledNequIPArchitecture):
        potential = compile_potential(potential).potential
    potential.requires_grad_(False)
    rows: list[dict[str, Any]] = []
    for name in arguments.structures:
        graph = graph_from_atoms(rattled(name), potential.cutoff)
        ways = {"exchange": by_exchange(potential, graph), "reach": by_reach(potential, graph)}
        first, second = (call() for call, _, _ in ways.values())
        difference = float((first - second).abs().max())
        if not difference < 1e-4:
            sys.exit(f"{name}: the two ways differ by {difference:.1e} eV/A")
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, (call, _, _) in ways.items():
                start = perf_counter()
                call()
                times[way].append(perf_counter() - start)
        for way, (_, atoms, edges) in ways.items():
            row = {"domain": name, "way": way, "atoms": atoms, "edges": edges, "s": statistics.median(times[way])}
            rows.append(row | {"ratio": row["s"] / statistics.median(times["exchange"])})
    print(markdown_table(rows, {"domain": "", "way": "", "atoms": "d", "edges": "d", "s": ".4f", "ratio": ".1f"}))
    print(f"{torch.get_num_threads()} threads, {processor_name()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
