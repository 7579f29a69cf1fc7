"""Every operator of a model is named with its implementation, and what is asked for is what runs."""

import pytest
import torch
from torch import nn

from equinet.models import NequIPArchitecture, Potential
from equinet_kernels import ConvSpec, SphericalHarmonics, UVUConv, edge_topology, explain, observe, use
from equinet_kernels.conv import cuda
from equinet_kernels.dispatch import choose

ONE = ConvSpec.parse("uvu;x=1x0e;l_max=0;paths=0.0.0e")


def test_explain_names_every_operator_of_a_model():
    conv = UVUConv(ONE)
    model = nn.ModuleDict({"y": SphericalHarmonics(1), "layers": nn.ModuleList([conv, nn.Linear(1, 1), conv.double()])})
    model["last"] = UVUConv(ConvSpec.parse("uvu;x=1x0e;l_max=1;paths=0.1.1o"))
    with use("reference"):
        assert explain(model) == [
            ("y", "spherical_harmonics", "reference", "asked for"),
            ("layers.0", "uvu_conv", "reference", "asked for"),
            ("last", "uvu_conv", "reference", "asked for"),
        ]
    choice = explain(model)[-1]
    assert choice[:3] == ("last", "uvu_conv", "cpu")
    assert choice.reason.startswith("compiled for ")


def test_explain_names_every_operator_of_a_potential():
    architecture = NequIPArchitecture(cutoff=4.0, layers=1, channels=4, mean_neighbors=5.0)
    names = {choice.operator for choice in explain(Potential(architecture, [14], [0.0], 1.0))}
    assert names == {"edge_vectors", "segment_gather", "segment_sum", "spherical_harmonics", "uvu_conv"}


def test_explain_of_a_model_without_operators():
    assert explain(nn.Linear(1, 1)) == []


def test_a_device_without_kernels():
    conv = UVUConv(ONE).to("meta")
    with pytest.warns(UserWarning, match="no kernel for devices of the kind meta"):
        assert explain(conv)[0].reason == "fallback: there is no kernel for devices of the kind meta"
    with pytest.raises(RuntimeError, match="uvu_conv would run on the reference: there is no kernel"):
        explain(conv, strict=True)


def test_what_cannot_run_here_is_refused():
    conv = UVUConv(ONE)
    inputs = torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1), edge_topology(*torch.zeros(2, 1).long(), 1)
    with use("triton"), pytest.raises(RuntimeError, match="triton was asked for, but tensors on cpu run on cpu"):
        conv(*inputs)
    with pytest.raises(ValueError, match="no implementation 'fastest'; there are auto, reference, cpu"), use("fastest"):
        pass


def test_what_would_run_on_a_gpu():
    """The choice alone: the kernels' numbers are tested where they are."""
    operators = ("uvu_conv", "harmonics", "radial_uvu_conv")
    assert [choose(operator, "cuda")[0] for operator in operators] == ["triton", "triton", "reference"]
    with use("cuda"):  # CUDA C++ where it is built, for the operator that has it
        assert choose("harmonics", "cuda")[0] == "triton"
        if cuda.LIBRARY is None:
            with pytest.raises(RuntimeError, match=r"kernels/cuda_build\.py"):
                choose("uvu_conv", "cuda")
        else:
            assert choose("uvu_conv", "cuda")[0] == "cuda"


def test_choices_hold_within_their_block():
    conv = UVUConv(ONE)
    inputs = torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1), edge_topology(*torch.zeros(2, 1).long(), 1)
    with observe() as ran:
        conv(*inputs)
        with use("reference"):
            conv(*inputs)
            with use(strict=True):
                conv(*inputs)
        conv(*inputs)
    assert ran == {("uvu_conv", "cpu"): 2, ("uvu_conv", "reference"): 2}
