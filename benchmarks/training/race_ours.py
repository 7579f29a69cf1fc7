"""Our side of the race: its configuration, its snapshots, their errors; called as ``race_peer`` is."""

import json
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from benchmarks.training import race_case
from benchmarks.training.race_clock import RaceClock


class OurClock(RaceClock):
    """Saves model files of the averaged weights."""

    suffix = ".safetensors"

    def save(self, trainer: Trainer, module: LightningModule, path: Path) -> None:
        """Write a model file."""
        from equinet.models import save_model
        from equinet.training.module import PotentialModule

        assert isinstance(module, PotentialModule)
        save_model(module.best_potential, path)


def configuration(
    case: race_case.Case, setting: race_case.Setting, clock: dict[str, Any], files: dict[str, str], seed: int
) -> Any:
    """What ``equinet train`` reads."""
    return {
        "seed": seed,
        "data": {"train_path": files["train"], "val_path": files["val"], "batch_size": setting.batch_size},
        "model": {
            "architecture": {
                "cutoff": case.cutoff,
                "layers": case.layers,
                "l_max": case.l_max,
                "channels": case.channels,
                "parity": "natural",
                "num_bessel": race_case.NUM_BESSEL,
                "envelope_power": race_case.ENVELOPE_POWER,
                "radial_hidden": [race_case.RADIAL_HIDDEN],
            },
            "loss": {**setting.weights, "units": "raw"},
            "optimizer": {"lr": setting.lr},
            "schedule": {"name": "constant"},
            "ema_decay": case.ema_decay,
        },
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 1_000_000,
            "limit_val_batches": 0,
            "enable_progress_bar": False,
            "callbacks": [{"class_path": "benchmarks.training.race_ours.OurClock", "init_args": clock}],
        },
    }


def main() -> None:
    """Judge the snapshots."""
    import ase.io

    from equinet import Calculator

    frames = ase.io.read(sys.argv[2], ":")
    for path in sorted(Path(sys.argv[1]).glob("*.safetensors")):
        calculator = Calculator(path, device="cpu")
        print(json.dumps({"seconds": float(path.stem), **race_case.errors(frames, calculator)}), flush=True)


if __name__ == "__main__":
    main()
