"""Weights, gradients, optimiser and average shared out between processes, for models that outgrow one card.

Each potential is one unit of FSDP2 (Zhao et al. 2023, arXiv:2304.11277; ``torch.distributed.fsdp.fully_shard``): its
weights are gathered when it is called and given up when its step is over. Finer units are not possible: forces are
derivatives taken within the call, so that a layer's weights are needed again after its derivative was taken once.
"""

import copy
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from equinet.models import Potential
from equinet.training.module import PotentialModule


class ShardedStrategy(DDPStrategy):
    """Data parallel, with each process holding its part of everything that has the size of the weights.

    A process holds about ``1 / processes`` of weights, gradients, average and optimiser, and for the time of a step all
    weights and all their gradients besides. Checkpoints and model files are those of any other run: they are written
    whole, by the first process, and a run may go on from them with other numbers of processes and without sharding.
    """

    def setup(self, trainer: Trainer) -> None:
        """Keep the form of the potential that is saved, before it is cut."""
        self._whole = copy.deepcopy(self._module.best_potential).cpu() if self.is_global_zero else None
        super().setup(trainer)

    def configure_ddp(self) -> None:
        """Cut the weights and their average."""
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        shard(self._module.potential, mesh, keep=True)
        if self._module.average is not None:
            shard(self._module.average.model, mesh, keep=False)

    def whole_potential(self) -> Potential | None:
        """What is validated and saved, whole and on the CPU, in the first process; every process must ask."""
        state = self._gathered(self._module.best_potential.state_dict())
        if self._whole is not None:
            self._whole.load_state_dict(state)
        return self._whole

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole tensors in the first process."""
        state: dict[str, Any] = self._gathered(super().lightning_module_state_dict())
        return state

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Whole tensors in the first process."""
        state: dict[str, Any] = self._gathered(super().optimizer_state(optimizer))
        return state

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's part of whole tensors."""
        pairs = zip(self.optimizers, checkpoint["optimizer_states"], strict=True)
        parts = [_part(optimizer, state) for optimizer, state in pairs]
        super().load_optimizer_state_dict({"optimizer_states": parts})

    def teardown(self) -> None:
        """Leave the parts where they are: Lightning would move them all to the CPU, which they are not made for."""
        for part in (self.cluster_environment, self.precision_plugin, self.accelerator, self.checkpoint_io):
            assert part is not None
            part.teardown()

    @property
    def _module(self) -> PotentialModule:
        assert isinstance(self.lightning_module, PotentialModule)
        return self.lightning_module

    def _gathered(self, tree: Any) -> Any:
        def whole(leaf: Any) -> Any:
            if not isinstance(leaf, DTensor):
                return leaf
            tensor: Tensor = leaf.full_tensor().detach()
            return tensor.cpu() if self.is_global_zero else None  # one at a time, and none twice

        return tree_map(whole, tree)


def shard(module: nn.Module, mesh: DeviceMesh, keep: bool) -> None:
    """Leave in this process its part of each weight, in place; a call of ``module`` gathers them.

    Args:
        module: on the device of this process; the same in every process.
        mesh: of the processes, in one row.
        keep: gathered weights until the derivatives of a call are taken; else until it returns.
    """

    def placement(weight: nn.Parameter) -> Shard:
        """Along the longest axis that falls into equal parts; the first, into unequal ones, where none does."""
        even = [axis for axis, length in enumerate(weight.shape) if length % mesh.size() == 0]
        return Shard(max(even, key=lambda axis: weight.shape[axis], default=0))

    fully_shard(
        module,
        mesh=mesh,
        reshard_after_forward=not keep,
        shard_placement_fn=placement,
        ignored_params={weight for weight in module.parameters() if not weight.numel()},  # there is nothing to cut
    )


def _part(optimizer: Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of an optimiser, its moments cut as the weights they belong to are."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    weight_of = dict(zip(numbers, weights, strict=True))

    def cut(value: Any, weight: Tensor) -> Any:
        if not (isinstance(weight, DTensor) and isinstance(value, Tensor) and value.shape == weight.shape):
            return value
        return distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)

    moments = {
        number: {name: cut(value, weight_of[number]) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": moments}
