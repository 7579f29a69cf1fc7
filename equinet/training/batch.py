"""What the data loaders hand to the training module: a batched graph, its labels, and where the frames came from."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from equinet.data import Example, ExampleDataset, Labels, collate_examples
from equinet.graph import AtomicGraph
from equinet.training.losses import labelled_counts
from equinet.training.sampling import PlannedBatch


class Batch(NamedTuple):
    """B labelled structures.

    ``totals`` says how many energies, atoms with forces and stresses are labelled in the whole optimiser step, over all
    processes and accumulated batches: what a loss is divided by, so that every atom of a step counts alike.
    """

    graph: AtomicGraph
    labels: Labels
    sources: tuple[str, ...]  # "FILE frame 12", one for each structure
    totals: Tensor  # [3] float64


def make_batch(examples: Sequence[Example], sources: Sequence[str], totals: Tensor | None = None) -> Batch:
    """Join examples into one batch; without ``totals`` it is an optimiser step by itself."""
    graph, labels = collate_examples(examples)
    return Batch(graph, labels, tuple(sources), labelled_counts(labels, graph) if totals is None else totals)


class BatchDataset(Dataset[Batch]):
    """Batches by what they shall hold, built in the worker that is asked."""

    def __init__(self, examples: ExampleDataset) -> None:
        self.examples = examples

    def __len__(self) -> int:
        """Of frames."""
        return len(self.examples)

    def __getitem__(self, planned: PlannedBatch) -> Batch:
        frames = planned.frames.tolist()
        sources = [self.examples.records[frame].source for frame in frames]
        totals = torch.from_numpy(planned.totals).double()
        batch = make_batch([self.examples[frame] for frame in frames], sources, totals)
        if planned.counts:
            return batch
        # predicted like any other, so that this process has gradients to share; but there is nothing to learn from it
        nothing = torch.zeros_like(batch.labels.has_energy)
        labels = batch.labels._replace(has_energy=nothing, has_forces=nothing, has_virial=nothing)
        return batch._replace(labels=labels)
