"""Turning a potential into its compiled form, with the error measured before it is believed."""

import dataclasses
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from equinet.errors import InputError
from equinet.graph import AtomicGraph, build_graph
from equinet.models.compiled import CompiledNequIPArchitecture, compiled_network
from equinet.models.nequip import NequIP, NequIPArchitecture
from equinet.models.potential import Potential

ENERGY_LIMIT = 1e-6  # eV/atom
FORCE_LIMIT = 1e-5  # eV/Angstrom
HESSIAN_LIMIT = 1e-3  # eV/Angstrom^2
SINGLE_PRECISION_GROWTH = 2.0  # of the error of float32
INTERVALS = (128, 256, 512, 1024, 2048)
"""Numbers of spline intervals that are tried, one after the other."""


class Difference(NamedTuple):
    """Largest difference between two potentials on the drawn structures."""

    energy: float  # eV/atom
    forces: float  # eV/Angstrom
    hessian: float  # eV/Angstrom^2


class Noise(NamedTuple):
    """Root mean square error of float32 on the drawn structures: over all atoms, for its largest values are chance."""

    energy: float  # eV, of an atom's energy
    forces: float  # eV/Angstrom, of a component


class Compilation(NamedTuple):
    """A compiled potential, and what was measured."""

    potential: Potential
    intervals: int
    structures: int  # drawn
    double: Difference  # compiled from original, both in float64
    single: Noise  # compiled in float32 from the original in float64
    original_single: Noise  # the original in float32 from itself in float64


def compile_potential(potential: Potential, seed: int = 0) -> Compilation:
    """Make the production form of a potential: same numbers within stated limits, faster, in bounded memory.

    The number of spline intervals is the smallest of :data:`INTERVALS` with which energies, forces and Hessians of
    random structures stay within the limits above, in float64; in float32 the error may be twice that of the original
    itself.

    Args:
        potential: a NequIP.
        seed: of the structures.

    Returns:
        The compiled potential in the original's dtype, in eval mode, and the errors measured.

    Raises:
        InputError: not a NequIP; several levels of theory; limits that no number of intervals keeps.
    """
    architecture = potential.architecture
    if isinstance(architecture, CompiledNequIPArchitecture):
        raise InputError("the potential is compiled already")
    if not isinstance(architecture, NequIPArchitecture):
        raise InputError(f"only NequIP can be compiled, not {type(architecture).__name__}")
    if potential.modals:
        raise InputError(f"only one level of theory can be compiled; choose from {', '.join(potential.modals)}")
    exact = potential.with_dtype(torch.float64).cpu()
    graphs = drawn_structures(potential.species, potential.cutoff, seed)
    expected = _evaluated(exact, graphs)
    hessians = [exact.hessian(graph) for graph in graphs]
    for intervals in INTERVALS:
        compiled = _compiled(exact, architecture, intervals)
        found = _evaluated(compiled, graphs)
        double = Difference(
            energy=max(float((a[0] - b[0]).abs().max()) for a, b in zip(found, expected, strict=True)),
            forces=max(float((a[1] - b[1]).abs().max()) for a, b in zip(found, expected, strict=True)),
            hessian=max(float((compiled.hessian(g) - h).abs().max()) for g, h in zip(graphs, hessians, strict=True)),
        )
        if double.energy <= ENERGY_LIMIT and double.forces <= FORCE_LIMIT and double.hessian <= HESSIAN_LIMIT:
            break
    else:
        raise InputError(
            f"with {intervals} intervals the compiled potential still differs by {double.energy:.1e} eV/atom, "
            f"{double.forces:.1e} eV/A and {double.hessian:.1e} eV/A^2; it stays as it is"
        )
    single, original_single = (
        _noise(_evaluated(one.with_dtype(torch.float32), graphs), expected) for one in (compiled, exact)
    )
    for name, ours, theirs in zip(Noise._fields, single, original_single, strict=True):
        if ours > SINGLE_PRECISION_GROWTH * theirs:
            raise InputError(f"in float32 its error of the {name} is {ours:.1e}, the original's {theirs:.1e}")
    result = compiled.with_dtype(potential.dtype).to(potential.scale.device)
    assert isinstance(result.architecture, CompiledNequIPArchitecture)
    return Compilation(result, result.architecture.intervals, len(graphs), double, single, original_single)


def drawn_structures(species: list[int], cutoff: float, seed: int) -> list[AtomicGraph]:
    """Random structures of at most eight elements: crystals, a slab and molecules, from dense to nearly apart."""
    random = np.random.default_rng(seed)
    graphs = []
    for spacing, size, pbc in (
        (2.6, 2, (True, True, True)),
        (3.0, 2, (True, True, True)),
        (2.8, 2, (True, True, False)),
        (2.2, 2, (False, False, False)),
        (3.6, 2, (False, False, False)),
    ):
        grid = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        positions = spacing * (grid + random.uniform(-0.1, 0.1, grid.shape))
        numbers = random.choice(species, len(grid))
        cell = spacing * size * (np.eye(3) + random.uniform(-0.1, 0.1, (3, 3)))
        graphs.append(build_graph(positions, numbers, cell, pbc, cutoff))
    return graphs


def _compiled(exact: Potential, architecture: NequIPArchitecture, intervals: int) -> Potential:
    """The compiled form in float64."""
    kink = 0
    if architecture.envelope == "xplor":
        assert architecture.xplor_onset is not None
        # a knot must be where the curvature jumps
        share = Fraction(architecture.xplor_onset / architecture.cutoff).limit_denominator(1000)
        if abs(float(share) * architecture.cutoff - architecture.xplor_onset) > 1e-9:
            raise InputError(
                f"xplor_onset {architecture.xplor_onset} is no simple fraction of the cutoff {architecture.cutoff}"
            )
        intervals = -(-intervals // share.denominator) * share.denominator
        kink = intervals * share.numerator // share.denominator
    fast = CompiledNequIPArchitecture(dataclasses.asdict(architecture), intervals, kink)
    with torch.random.fork_rng(devices=[]):  # the random weights drawn here are overwritten
        potential = Potential(
            fast,
            species=exact.species,
            isolated_energies=exact.reference_energies.tolist(),
            scale=exact.scale.tolist(),
            shift=exact.shift.tolist(),
            subtract_isolated=exact.subtract_isolated,
            zbl=exact.zbl is not None,
            dtype=torch.float64,
            provenance={**exact.provenance, "compiled": {"intervals": intervals}},
        )
        assert isinstance(exact.model, NequIP)
        potential.model = compiled_network(exact.model, fast, len(exact.species), torch.float64)
    return potential.eval()


def _evaluated(potential: Potential, graphs: list[AtomicGraph]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Energy per atom, forces and atom energies of each graph."""
    predictions = [potential(graph) for graph in graphs]
    return [(p.energy / len(p.atom_energies), p.forces, p.atom_energies) for p in predictions]


def _noise(found: list[tuple[Tensor, Tensor, Tensor]], expected: list[tuple[Tensor, Tensor, Tensor]]) -> Noise:
    def rms(key: int) -> float:
        errors = [(a[key] - b[key]).flatten() for a, b in zip(found, expected, strict=True)]
        return float(torch.cat(errors).square().mean().sqrt())

    return Noise(energy=rms(2), forces=rms(1))
