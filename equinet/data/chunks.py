"""The same work on every part of a large set, in several processes where that pays."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from equinet.data.record import Record
from equinet.errors import InputError

Result = TypeVar("Result")
Work = Callable[[Sequence[Record], int, int], Result]
"""Takes the records and which of them, ``start`` to ``stop``."""

CHUNK = 1000
WORTH_PROCESSES = 5 * CHUNK


class _Chunks(Dataset[Any], Generic[Result]):
    def __init__(self, records: Sequence[Record], work: Work[Result]) -> None:
        self.records, self.work = records, work

    def __len__(self) -> int:
        return -(-len(self.records) // CHUNK)

    def __getitem__(self, chunk: int) -> "Result | InputError":
        try:
            return self.work(self.records, chunk * CHUNK, min((chunk + 1) * CHUNK, len(self.records)))
        except InputError as error:  # as a value: raised in a worker its one line would drown in a traceback
            return error


def map_chunks(
    records: Sequence[Record],
    work: Work[Result],
    workers: int | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> Iterator[Result]:
    """Apply ``work`` to chunks of the records, and give the results in order.

    Args:
        records: any sequence; in other processes, a store opens itself anew.
        work: a function that can be pickled.
        workers: processes; 0 works here, None takes every core where there are many records.
        done: told the number of records worked on so far.

    Raises:
        InputError: what ``work`` raised.
    """
    if workers is None:
        workers = available_cores() if len(records) >= WORTH_PROCESSES else 0
    loader = DataLoader(_Chunks(records, work), batch_size=None, num_workers=workers, collate_fn=_same)
    for chunk, result in enumerate(loader):
        if isinstance(result, InputError):
            raise result
        done(min((chunk + 1) * CHUNK, len(records)))
        yield result


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _same(value: Any) -> Any:
    return value
