"""What ends a training although its data are sound, as one line that says how to go on."""

import re
import traceback
from pathlib import Path

import lightning
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.distributed import DistError

from equinet.errors import InputError

_LOST = re.compile(r"gloo|nccl|connection (reset|closed|refused)|broken pipe", re.IGNORECASE)
"""What torch says where a process of a run no longer answers; only some of its errors have a class of their own."""


def explained(error: Exception, checkpoint: Path | None, processes: int, go_on: str) -> InputError | None:
    """What an error of Lightning or torch means to the user; None where it means nothing but a mistake of ours.

    Args:
        error: that ended the training.
        checkpoint: the run was resumed from, if it was.
        processes: of the run.
        go_on: a clause with the command to go on with.
    """
    text = " ".join(str(error).split())
    if is_of_trainer(error):
        return InputError(f"trainer: {text}")
    if not isinstance(error, RuntimeError):
        return None
    if checkpoint is not None and "state_dict" in text:
        return InputError(
            f"{checkpoint} does not fit the model of this configuration; keep the model's settings to resume, or "
            "start a new run without --ckpt_path"
        )
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return InputError(
            f"torch {torch.__version__} cannot compile this training step ({type(error).__name__}: "
            f"{text[:200] or 'no reason given'}); train without model.compile"
        )
    if "DataLoader worker" in text:
        return InputError(
            "a process that builds batches was killed, by the system if memory ran out; give fewer data.num_workers "
            f"or smaller batches; {go_on}"
        )
    if processes > 1 and (isinstance(error, DistError) or _LOST.search(text)):
        return InputError(
            f"another process of this run has ended or cannot be reached; if it did not say why, it was killed, by the "
            f"system if memory ran out ({text[:200]}); {go_on}"
        )
    return None


def is_of_trainer(error: Exception) -> bool:
    """Whether Lightning refuses a value of a key of ``trainer``, some of which it checks only while it trains."""
    if isinstance(error, MisconfigurationException):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    by_lightning = bool(frames) and Path(frames[-1].filename).is_relative_to(Path(lightning.__file__).parent)
    return type(error) in (TypeError, ValueError) and by_lightning
