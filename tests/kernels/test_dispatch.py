"""Every operator of a model is named with its implementation."""

from torch import nn

from equinet_kernels import Choice, ConvSpec, SphericalHarmonics, UVUConv, explain


def test_explain_names_every_operator_of_a_model():
    conv = UVUConv(ConvSpec.parse("uvu;x=1x0e;l_max=0;paths=0.0.0e"))
    model = nn.ModuleDict({"y": SphericalHarmonics(1), "layers": nn.ModuleList([conv, nn.Linear(1, 1), conv.double()])})
    model["last"] = UVUConv(ConvSpec.parse("uvu;x=1x0e;l_max=1;paths=0.1.1o"))
    reason = "the only implementation in this version"
    assert explain(model) == [
        Choice("y", "harmonics", "reference", reason),
        Choice("layers.0", "uvu_conv", "reference", reason),
        Choice("last", "uvu_conv", "reference", reason),
    ]


def test_explain_of_a_model_without_operators():
    assert explain(nn.Linear(1, 1)) == []
