"""Examples back to a file that people and other programs can look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from equinet.data.examples import Labels
from equinet.files import replacing
from equinet.graph import AtomicGraph


def write_examples(path: Path, graph: AtomicGraph, labels: Labels, sources: Sequence[str]) -> None:
    """Write the structures of a batch, with the labels they have, as extended XYZ.

    Args:
        path: of the file.
        graph: B structures.
        labels: theirs.
        sources: where each came from; goes to ``info["source"]``.
    """
    frames = []
    batch = graph.batch.cpu()
    for b, source in enumerate(sources):
        own = batch == b
        atoms = Atoms(
            numbers=graph.numbers.cpu()[own].numpy(),
            positions=graph.positions.detach().cpu()[own].numpy(),
            cell=graph.cell[b].detach().cpu().numpy(),
            pbc=graph.pbc[b].cpu().numpy(),
            info={"source": source},
        )
        values: dict[str, Any] = {}
        if labels.has_energy[b]:
            values["energy"] = float(labels.energy[b])
        if labels.has_forces[b]:
            values["forces"] = labels.forces.cpu()[own].numpy()
        if labels.has_virial[b]:
            atoms.info["virial"] = labels.virial[b].cpu().numpy()
        atoms.calc = SinglePointCalculator(atoms, **values)
        frames.append(atoms)
    with replacing(path) as temporary:
        write(temporary, frames, format="extxyz")
