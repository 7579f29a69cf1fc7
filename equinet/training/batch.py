"""What the data loaders hand to the training module: a batched graph, its labels, and where the frames came from."""

from collections.abc import Sequence
from typing import NamedTuple

from torch.utils.data import Dataset

from equinet.data import Example, ExampleDataset, Labels, Modals, Record, collate_examples
from equinet.graph import AtomicGraph


class Batch(NamedTuple):
    """B labelled structures; sources ("FILE frame 12") name them when something goes wrong."""

    graph: AtomicGraph
    labels: Labels
    sources: tuple[str, ...]


class SourcedExamples(Dataset[tuple[Example, str]]):
    """Examples with their sources; graphs are built when first asked for and kept in memory."""

    def __init__(self, records: Sequence[Record], cutoff: float, modals: Modals = Modals()) -> None:  # noqa: B008
        self.records = list(records)
        self.examples = ExampleDataset(self.records, cutoff, modals.index)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Example, str]:
        return self.examples[index], self.records[index].source


def collate_batch(items: Sequence[tuple[Example, str]]) -> Batch:
    """Join examples into one batch; the ``collate_fn`` of the loaders."""
    graph, labels = collate_examples([example for example, _ in items])
    return Batch(graph, labels, tuple(source for _, source in items))
