"""``data.max_edges: auto``: how many edges a batch may have, from the memory that real training steps take.

Before training starts every process takes steps on batches of growing size, made of the training set as epochs make
theirs, throws the gradients away and draws a line through the peaks of memory. The smallest answer of all processes
becomes the budget, and part of the run's configuration, so that a resumed run meets the same batches.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from equinet.data import columns_of, store_of
from equinet.errors import InputError
from equinet.memory import measured, say_bytes, there
from equinet.training.agreement import Agreement, ToldByFirst
from equinet.training.batch import Batch, BatchDataset
from equinet.training.datamodule import VALIDATION, AtomicDataModule
from equinet.training.metrics import ErrorSums
from equinet.training.module import PotentialModule
from equinet.training.plan import WINDOW
from equinet.training.randomness import random_states, restore_random_states
from equinet.training.sampling import Budget, PlannedBatch, Planner
from equinet.training.sharding import ShardedStrategy

LEAST_STEPS = 100
"""Optimiser steps of an epoch, at least: more memory is no reason to learn from fewer of them. A user who wants larger
ones gives data.batch_size or data.max_atoms, or a number of edges."""
SMALLEST = 1_000
"""Edges of the first batch tried, unless the structures are larger."""
EDGE_BYTES, ATOM_BYTES = 40, 64
"""What a structure takes that is kept for the next epoch: its graph and its forces."""


@dataclass(frozen=True)
class Found:
    """A budget of edges, and where it comes from.

    Attributes:
        max_edges: of one batch of one process.
        bound_by: what keeps it from being larger: "memory", "steps" (of an epoch), "batch_size", "max_atoms".
        fitting: edges that memory allows, in the process that has least of it.
        bytes_per_edge: of a training step, in this process.
        allowed: bytes that this process may hold.
        there: bytes that there are for it.
    """

    max_edges: int
    bound_by: str
    fitting: int
    bytes_per_edge: float
    allowed: int
    there: int

    def describe(self) -> str:
        """One line for the user."""
        line = (
            f"data.max_edges auto: {self.max_edges} edges a batch; a training step takes "
            f"{say_bytes(self.bytes_per_edge)} an edge, and {say_bytes(self.allowed)} of the {say_bytes(self.there)} "
            "there may be used"
        )
        if self.bound_by == "steps":
            line += (
                f"; {self.fitting} edges would fit, but an epoch shall have {LEAST_STEPS} steps: give data.batch_size, "
                "or a number, for larger ones"
            )
        if self.bound_by in ("batch_size", "max_atoms"):
            line += f"; {self.fitting} edges would fit, but data.{self.bound_by} never has as many"
        return line


class MeasuredBudget(Callback):
    """Settle ``data.max_edges: auto`` when a fit starts. To stand before callbacks that count the steps of an epoch.

    Args:
        found: told the result, in every process.
    """

    def __init__(self, found: Callable[[Found], None] = lambda found: None) -> None:
        self.found = found

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Measure, agree with the other processes, settle.

        Raises:
            InputError: a structure that does not fit by itself; a system that does not say what memory is used.
            ToldByFirst: the same, on the other processes.
        """
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, AtomicDataModule) or not data.automatic:
            return
        assert isinstance(pl_module, PotentialModule)
        agreement, found, mistake = Agreement(), None, None
        try:
            found = find_budget(trainer, pl_module, data)
        except InputError as error:
            mistake = str(error)
        mistake = agreement.first_text(mistake)
        if mistake is not None or found is None:
            raise InputError(mistake) if trainer.is_global_zero else ToldByFirst
        found = _bounded(found, -agreement.highest(-found.fitting), trainer, data)
        _say(found.describe())
        data.settle(found.max_edges)
        self.found(found)


def find_budget(trainer: Trainer, module: PotentialModule, data: AtomicDataModule) -> Found:
    """Measure on the device of this process; module, data and random states are as before.

    Args:
        trainer: whose processes have started.
        module: moved to the device.
        data: whose budget of edges is not known yet.

    Raises:
        InputError: a structure that does not fit by itself; a system that does not say what memory is used.
    """
    records = data.records
    if not records.train_edges.any():
        raise InputError(
            f"no frame to train on has two atoms within {records.cutoff:g} A, so that data.max_edges cannot be auto; "
            "give a number, or a larger cutoff"
        )
    device = trainer.strategy.root_device
    module.to(device)
    available = there(device, max(1, trainer.world_size // trainer.num_nodes))
    allowed = int(data.memory_fraction * available)
    shares = trainer.world_size if isinstance(trainer.strategy, ShardedStrategy) else 1
    room = allowed - _optimizer_bytes(module) // shares - (_kept_bytes(data) if device.type == "cpu" else 0)
    steps = _Steps(module, data, device)
    stop = max(steps.smallest, _most(trainer, data)[0])
    with _as_before(module), trainer.precision_plugin.train_step_context():
        growth = measured(device, steps.of, steps.smallest, stop, room)
    fitting = growth.largest(room)
    name, edges = _largest(data)
    if fitting < edges:
        takes = say_bytes(growth.at(edges) - growth.at(0))
        raise InputError(
            f"{name}: its {edges} edges take {takes} in a training step, too much for this {device.type}, where "
            f"{fitting} edges fit into what may be used ({say_bytes(allowed)} of {say_bytes(available)}, "
            "data.memory_fraction); set model.recompute_weights, train a smaller model, use a device with more memory, "
            "or leave such structures out"
        )
    return Found(fitting, "memory", fitting, growth.each, allowed, available)


def _bounded(found: Found, fitting: int, trainer: Trainer, data: AtomicDataModule) -> Found:
    """What all processes together take: the least that fits, and no more than is of use."""
    least = _largest(data)[1]
    most, why = _most(trainer, data)
    if fitting > max(most, least):
        return replace(found, max_edges=max(most, least), bound_by=why, fitting=fitting)
    digits = 10 ** max(0, len(str(fitting)) - 3)  # three of them: more would be noise
    return replace(found, max_edges=max(fitting // digits * digits, least), fitting=fitting)


def _most(trainer: Trainer, data: AtomicDataModule) -> tuple[int, str]:
    """Edges of which more would be of no use, and why."""
    edges = data.records.train_edges
    asked = []  # how large a step shall be: then an epoch has what steps it has
    if data.budget.structures is not None:
        asked.append((data.budget.structures * int(edges.max()), "batch_size"))
    if data.budget.atoms is not None:
        asked.append((int(data.budget.atoms * (edges / data.records.train.atoms).max()), "max_atoms"))
    if asked:
        return min(asked)
    batches = LEAST_STEPS * trainer.world_size * trainer.accumulate_grad_batches
    return max(1, int(edges.sum()) // batches), "steps"


def _largest(data: AtomicDataModule) -> tuple[str, int]:
    """The structure that asks for the largest budget: its name, and the budget of edges."""
    factor = _validation_factor(data)
    records = data.records
    train, val = int(records.train_edges.argmax()), int(records.val_edges.argmax())
    of_train, of_val = int(records.train_edges[train]), -(-int(records.val_edges[val]) // factor)
    if of_val > of_train:
        return records.val[val].source, of_val
    return records.train[train].source, max(1, of_train)


def _validation_factor(data: AtomicDataModule) -> int:
    """Edges of a validation batch, in those of a training batch."""
    return VALIDATION if data.val_batch_size is None else 1


def _optimizer_bytes(module: PotentialModule) -> int:
    """What steps leave behind: two moments of each weight, or three, and gradients while the next are added to them."""
    copies = 4 if module.optimizer_settings.name == "amsgrad" else 3
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    return copies * sum(weight.numel() * weight.element_size() for weight in trained)


def _kept_bytes(data: AtomicDataModule) -> int:
    """Graphs of sets in memory, which are kept once they are made, in each process that makes batches."""
    total = 0
    both = data.records
    for records, edges in ((both.train, both.train_edges), (both.val, both.val_edges)):
        if store_of(records) is None:
            total += EDGE_BYTES * int(edges.sum()) + ATOM_BYTES * int(records.atoms.sum())
    return total * max(1, data.num_workers)


class _Steps:
    """Training and validation steps on the worst batches that a budget allows.

    Batches are planned as those of an epoch are, from as many frames as are packed together there; frames repeat where
    the data have too few. The batch with most edges and the one with most atoms are tried: planning puts small
    structures together, which have more atoms for their edges.
    """

    def __init__(self, module: PotentialModule, data: AtomicDataModule, device: torch.device) -> None:
        self.module, self.data, self.device = module, data, device
        edges = data.records.train_edges
        frames = np.random.default_rng(data.seed).permutation(len(edges))[:WINDOW]
        self.frames = frames[edges[frames] > 0]
        self.smallest = max(SMALLEST, int(np.median(edges[self.frames])))

    def of(self, edges: int) -> Callable[[], object]:
        """Prepare the batches of a budget; the function returned takes the steps."""
        training = self._worst(edges)
        validation = self._worst(edges * _validation_factor(self.data))

        def run() -> None:
            self.module.train()
            for batch in training:
                self.module.terms(batch, self.module.loss.settings.final_weights).sum().backward()
                self.module.zero_grad()
            self.module.eval()
            with torch.no_grad():
                for batch in validation:
                    self.module.validation_step(batch, 0)

        return run

    def _worst(self, edges: int) -> list[Batch]:
        own = self.data.records.train_edges
        frames = self.frames[own[self.frames] <= edges]
        frames = np.tile(frames, -(-2 * edges // int(own[frames].sum())))
        columns = columns_of(self.data.records.train)[frames]
        plan = Planner(columns, own[frames], Budget(edges=edges), self.data.seed).in_order(1)
        steps = [plan.batch(step, 0) for step in range(len(plan))]
        worst = {int(np.argmax([counts[step].sum() for step in steps])) for counts in (own[frames], columns.atoms)}
        labels = columns.label_counts()
        batches = BatchDataset(self.data.examples(self.data.records.train, keep=True))  # for this budget alone
        planned = [PlannedBatch(frames[steps[i]], labels[steps[i]].sum(axis=0), counts=True) for i in sorted(worst)]
        return [move_data_to_device(batches[batch], self.device) for batch in planned]


@contextmanager
def _as_before(module: PotentialModule) -> Iterator[None]:
    """Leave no trace: no gradients, random numbers drawn, errors noted, changed modes, or code compiled for a batch."""
    states, errors = random_states(), (module.train_errors, module.val_errors)
    modes = {part: part.training for part in module.modules()}
    module.train_errors, module.val_errors = ErrorSums(), ErrorSums()
    try:
        yield
    finally:
        module.zero_grad()
        module.forget_compiled()
        module.train_errors, module.val_errors = errors
        for part, training in modes.items():
            part.training = training
        restore_random_states(states)


@rank_zero_only
def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
