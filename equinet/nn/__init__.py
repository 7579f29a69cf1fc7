"""Equivariant building blocks. They take plain tensors, script and export; layouts of flat rows come from
equinet_kernels."""

from equinet.nn.activation import NormalizedActivation as NormalizedActivation
from equinet.nn.gate import Gate as Gate
from equinet.nn.interaction import Interaction as Interaction
from equinet.nn.linear import EquivariantLinear as EquivariantLinear
from equinet.nn.linear import SpeciesLinear as SpeciesLinear
from equinet.nn.lora import add_low_rank_updates as add_low_rank_updates
from equinet.nn.lora import is_adapted as is_adapted
from equinet.nn.lora import merge_low_rank_updates as merge_low_rank_updates
from equinet.nn.radial import BesselBasis as BesselBasis
from equinet.nn.radial import PolynomialEnvelope as PolynomialEnvelope
from equinet.nn.radial import RadialNetwork as RadialNetwork
from equinet.nn.radial import XPLOREnvelope as XPLOREnvelope
