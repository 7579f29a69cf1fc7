"""nequip's side of the race, in its own environment: its configuration, its snapshots, their errors.

    python -m benchmarks.training.race_peer FOLDER FRAMES

prints a line of JSON for each snapshot in FOLDER, with its errors on FRAMES.
"""

import json
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from benchmarks.training import race_case
from benchmarks.training.race_clock import RaceClock


class PeerClock(RaceClock):
    """Saves nequip's checkpoints, whose averaged weights its calculator loads."""

    suffix = ".ckpt"

    def save(self, trainer: Trainer, module: LightningModule, path: Path) -> None:
        """Write a checkpoint."""
        trainer.save_checkpoint(path)


def configuration(
    case: race_case.Case,
    setting: race_case.Setting,
    clock: dict[str, Any],
    files: dict[str, str],
    seed: int,
    mode: str,
) -> Any:
    """What ``nequip-train`` reads."""
    coefficients = {"total_energy": setting.weights["energy"], "forces": setting.weights["forces"]}
    if case.stress:
        coefficients["stress"] = setting.weights["stress"]
    labels = "EnergyForceStress" if case.stress else "EnergyForce"
    types = list(case.shifts)
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": setting.batch_size}
    return {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule",
            "seed": seed,
            "train_file_path": files["train"],
            "val_file_path": files["val"],
            "transforms": [
                {"_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper", "model_type_names": types},
                {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": case.cutoff},
            ],
            "train_dataloader": {**loader, "shuffle": True},
            "val_dataloader": loader,
            "stats_manager": {
                "_target_": "nequip.data.CommonDataStatisticsManager",
                "dataloader_kwargs": {"batch_size": 16},
                "type_names": types,
            },
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu",
            "max_epochs": 1_000_000,
            "limit_val_batches": 0,
            "num_sanity_val_steps": 0,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
            "callbacks": [{"_target_": "benchmarks.training.race_peer.PeerClock", **clock}],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "ema_decay": case.ema_decay,
            "loss": {
                "_target_": f"nequip.train.{labels}Loss",
                "per_atom_energy": True,
                "coeffs": coefficients,
            },
            "val_metrics": {"_target_": f"nequip.train.{labels}Metrics"},
            "optimizer": {"_target_": "torch.optim.Adam", "lr": setting.lr},
            "model": {
                "_target_": "nequip.model.NequIPGNNModel",
                "compile_mode": mode,
                "seed": seed,
                "model_dtype": "float32",
                "type_names": types,
                "r_max": case.cutoff,
                "num_layers": case.layers,
                "l_max": case.l_max,
                "parity": False,
                "num_features": case.channels,
                "radial_mlp_depth": 1,
                "radial_mlp_width": race_case.RADIAL_HIDDEN,
                "num_bessels": race_case.NUM_BESSEL,
                "polynomial_cutoff_p": race_case.ENVELOPE_POWER,
                "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
                "per_type_energy_scales": "${training_data_stats:forces_rms}",
                "per_type_energy_shifts": case.shifts,
            },
        },
    }


def main() -> None:
    """Judge the snapshots."""
    import ase.io
    from nequip.integrations.ase import NequIPCalculator

    frames = ase.io.read(sys.argv[2], ":")
    for path in sorted(Path(sys.argv[1]).glob("*.ckpt")):
        calculator = NequIPCalculator._from_saved_model(str(path), device="cpu")
        print(json.dumps({"seconds": float(path.stem), **race_case.errors(frames, calculator)}), flush=True)


if __name__ == "__main__":
    main()
