"""Our side of the training step; ``step.py`` runs it in a process of its own, as it does the peer's."""

from typing import Any

import numpy as np
import torch

from benchmarks.training import case
from benchmarks.training.steps import Side, answer, measure, parser
from equinet.data import Record, compute_statistics, make_example
from equinet.models import NequIPArchitecture
from equinet.training.batch import Batch, make_batch
from equinet.training.losses import LossSettings
from equinet.training.module import PotentialModule
from equinet.training.optimization import OptimizerSettings, build_optimizer
from equinet_kernels import explain


def prepare() -> Side:
    """The module and one batch; the loss is that of :meth:`PotentialModule.training_step`."""
    module, batch = build(case.silicon())
    choices = explain(module.potential)
    return Side(
        weights=[weight for weight in module.potential.parameters() if weight.requires_grad],
        loss=lambda: module.terms(batch, module.loss.settings.final_weights).sum(),
        edges=len(batch.graph.senders),
        digest=case.digest(case.silicon()),
        packages=("equinet-mlip",),
        implementation=", ".join(sorted({f"{choice.operator} {choice.implementation}" for choice in choices})),
    )


def build(frame: case.Frame, **options: Any) -> tuple[PotentialModule, Batch]:
    """A training module, and the frame as its batch.

    Args:
        frame: structure and labels.
        options: more for the module.
    """
    record = Record(
        numbers=frame.numbers,
        positions=frame.positions,
        cell=frame.cell,
        pbc=np.ones(3, dtype=bool),
        energy=frame.energy,
        forces=frame.forces,
        virial=-frame.stress * np.linalg.det(frame.cell),
    )
    batch = make_batch([make_example(record, case.CUTOFF)], [record.source])
    torch.manual_seed(0)
    module = PotentialModule(
        compute_statistics([record], case.CUTOFF),
        architecture=NequIPArchitecture(
            cutoff=case.CUTOFF,
            layers=case.LAYERS,
            l_max=case.L_MAX,
            channels=case.CHANNELS,
            parity="full",
            num_bessel=case.NUM_BESSEL,
            envelope_power=case.ENVELOPE_POWER,
            radial_hidden=[case.RADIAL_HIDDEN],
            mean_neighbors=case.MEAN_NEIGHBORS,
        ),
        loss=LossSettings(energy=1 / 3, forces=1 / 3, stress=1 / 3, units="raw"),  # of sum one, as the peer has them
        **({"ema_decay": None} | options),  # the peer's plain module has no average either
    ).train()
    return module, batch


if __name__ == "__main__":
    arguments = parser().parse_args()
    torch.set_num_threads(arguments.threads)
    side = prepare()
    optimizer = build_optimizer(side.weights, OptimizerSettings(lr=case.LEARNING_RATE))
    answer(measure(side, optimizer, arguments.warmup, arguments.steps))
