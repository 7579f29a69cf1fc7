"""Which errors of Lightning and torch are a user's to know in one line; all others keep their traceback."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from equinet.training.failures import explained

GLOO = RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:38317: Connection reset by peer")
NCCL = torch.distributed.DistBackendError("NCCL error: remote process exited or there was a network error")


def raised(function, *arguments, **keywords):
    with pytest.raises(Exception) as error:  # noqa: PT011 (whatever it is)
        function(*arguments, **keywords)
    return error.value


@pytest.mark.parametrize("error", [GLOO, NCCL], ids=["gloo", "nccl"])
def test_a_lost_process(error):
    said = str(explained(error, None, 2, "go on with: x"))
    assert said.startswith("another process of this run has ended or cannot be reached")
    assert said.endswith(f"({error}); go on with: x")
    assert explained(error, None, 1, "") is None  # there is no other


def test_keys_of_the_trainer():
    wrong = raised(Trainer, devices=-1, accelerator="cpu", logger=False)
    assert type(wrong) is TypeError
    assert "`devices`" in str(explained(wrong, None, 1, ""))
    assert str(explained(MisconfigurationException("a\n  b"), None, 1, "")) == "trainer: a b"


def test_mistakes_of_ours_keep_their_traceback():
    for error in (raised(int, "x"), raised(len, 3), raised(torch.zeros(2).view, 3)):
        assert explained(error, None, 2, "") is None
