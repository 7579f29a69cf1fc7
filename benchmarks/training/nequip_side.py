"""nequip's side of the training step, run by the Python of its own environment: nothing of equinet is imported."""

import numpy as np
import torch
from nequip.data import AtomicDataDict, from_dict
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model import NequIPGNNModel
from nequip.train import EnergyForceStressLoss
from nequip.utils.global_state import set_global_state
from torch import Tensor

from benchmarks.training import case
from benchmarks.training.steps import Side, answer, measure, parser

TYPE_NAMES = ["Si"]


def batch_of(frame: case.Frame) -> AtomicDataDict.Type:
    """A batch of one, as nequip's data sets give it: atom types and neighbours by its own transforms."""
    data = from_dict(
        {
            AtomicDataDict.POSITIONS_KEY: frame.positions,
            AtomicDataDict.ATOMIC_NUMBERS_KEY: frame.numbers,
            AtomicDataDict.CELL_KEY: frame.cell,
            AtomicDataDict.PBC_KEY: (True, True, True),
            AtomicDataDict.TOTAL_ENERGY_KEY: np.array([[frame.energy]]),
            AtomicDataDict.FORCE_KEY: frame.forces,
            AtomicDataDict.STRESS_KEY: frame.stress[None],
        }
    )
    data = ChemicalSpeciesToAtomTypeMapper(model_type_names=TYPE_NAMES)(data)
    return AtomicDataDict.batched_from_list([NeighborListTransform(r_max=case.CUTOFF)(data)])


def prepare(type_features: int) -> Side:
    """Build the model with nequip's own builder, and one batch; the loss is that of ``NequIPLightningModule``.

    Eager, nequip's default. ``compile_mode="compile"`` is not measured: nequip advises it for GPUs, falls back to eager
    for a batch of one structure, and with two had not compiled after seven minutes of processor time.

    Args:
        type_features: width of the embedding of types. It is the number of scalars that the first layer reads, and
            each self-connection has a weight matrix for every one of them.
    """
    set_global_state()
    frame = case.silicon()
    batch = batch_of(frame)
    model = NequIPGNNModel(
        seed=0,
        model_dtype="float32",
        type_names=TYPE_NAMES,
        r_max=case.CUTOFF,
        num_layers=case.LAYERS,
        l_max=case.L_MAX,
        parity=True,
        num_features=case.CHANNELS,
        type_embed_num_features=type_features,
        radial_mlp_depth=1,
        radial_mlp_width=case.RADIAL_HIDDEN,
        num_bessels=case.NUM_BESSEL,
        polynomial_cutoff_p=case.ENVELOPE_POWER,
        avg_num_neighbors=case.MEAN_NEIGHBORS,
        per_type_energy_scales=float(np.sqrt(np.mean(frame.forces**2))),
        per_type_energy_shifts=frame.energy / len(frame.numbers),
        compile_mode="eager",
    ).train()
    loss_of = EnergyForceStressLoss(coeffs={"total_energy": 1.0, "forces": 1.0, "stress": 1.0}, per_atom_energy=True)

    def loss() -> Tensor:
        output = model(batch.copy())
        return loss_of(output, batch)["weighted_sum"]

    scripted = any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())
    return Side(
        weights=[weight for weight in model.parameters() if weight.requires_grad],
        loss=loss,
        edges=AtomicDataDict.num_edges(batch),
        digest=case.digest(frame),
        packages=("nequip", "e3nn"),
        implementation="e3nn scripted" if scripted else "e3nn eager",
    )


if __name__ == "__main__":
    own = parser()
    own.add_argument("--type-features", type=int, required=True)
    arguments = own.parse_args()
    torch.set_num_threads(arguments.threads)
    side = prepare(arguments.type_features)
    optimizer = torch.optim.Adam(side.weights, lr=case.LEARNING_RATE)
    answer(measure(side, optimizer, arguments.warmup, arguments.steps))
