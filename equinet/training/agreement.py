"""What all processes of a run must know at the same step: one was told to stop, or met a loss that is not finite."""

import torch
import torch.distributed as distributed


class ToldByFirst(Exception):  # noqa: N818 (the error is another's)
    """What is wrong is known to all processes, and the first one tells the user."""


class Agreement:
    """Questions to all processes. Their answers go over the CPU, so that no GPU is waited for."""

    def __init__(self) -> None:
        self._group: distributed.ProcessGroup | None = None

    def highest(self, value: int) -> int:
        """The largest of the values of all processes; every process must ask."""
        if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
            return value
        tensor = torch.tensor(value)
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX, group=self._cpu_group())
        return int(tensor)

    def first_text(self, text: str | None) -> str | None:
        """The text of the first process that has one; None where none has."""
        if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
            return text
        if not self.highest(int(text is not None)):
            return None
        texts: list[str | None] = [None] * distributed.get_world_size()
        distributed.all_gather_object(texts, text, group=self._cpu_group())
        return next(said for said in texts if said is not None)

    def _cpu_group(self) -> distributed.ProcessGroup:
        if self._group is None:
            self._group = distributed.new_group(backend="gloo")
        return self._group
