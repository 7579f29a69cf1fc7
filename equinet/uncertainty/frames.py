"""Labelled frames in batches, and marks by which a frame is known again."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from equinet.data import Record
from equinet.graph import AtomicGraph, collate, move
from equinet.models import Potential
from equinet.models.inference import BatchLimits, batched
from equinet.training.evaluation import graphs_of


def labelled_batches(
    potential: Potential, records: Sequence[Record], batch_size: int
) -> Iterator[tuple[AtomicGraph, list[Record]]]:
    """Graphs of bounded size on the potential's device, and the records they were made of.

    Raises:
        InputError: an element that the potential does not know, with the frame.
    """
    waiting = iter(records)
    for graphs in batched(graphs_of(potential, records), BatchLimits(batch_size)):
        yield move(collate(graphs), potential.scale.device), list(islice(waiting, len(graphs)))


def fingerprints(records: Iterable[Record]) -> NDArray[np.int64]:
    """A mark of each frame, 64 bits of a hash of elements, positions and cell as they stand in the file."""
    marks = []
    for record in records:
        content = (record.numbers.tobytes(), record.positions.tobytes(), (record.cell * record.pbc[:, None]).tobytes())
        marks.append(int.from_bytes(hashlib.sha256(b"".join(content)).digest()[:8], "little", signed=True))
    return np.array(marks, dtype=np.int64)


def fingerprint(potential: Potential) -> str:
    """SHA-256 of a potential's numbers in float32: the same whatever precision it is loaded in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(potential.state_dict().items()):
        if name != "isolated_outputs":
            digest.update(name.encode())
            digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
