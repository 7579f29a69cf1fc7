"""Every model that exists, as the contract suite runs it. A new architecture adds its potentials to ``POTENTIALS``."""

from collections.abc import Callable

import pytest
import torch

from equinet.models import NequIPArchitecture, Potential

SPECIES = [6, 8, 14]
DEFAULTS = {
    "species": SPECIES,
    "isolated_energies": [-10.0, -20.0, -5.0],
    "scale": [2.0, 2.5, 3.0],
    "shift": [-3.0, -2.0, -4.0],
}


def nequip(dtype: torch.dtype, potential: dict | None = None, **architecture: object) -> Potential:
    """A small NequIP with drawn weights."""
    settings: dict = {"cutoff": 4.0, "layers": 2, "l_max": 2, "channels": 6, "mean_neighbors": 12.0}
    torch.manual_seed(7)
    return Potential(
        NequIPArchitecture(**(settings | architecture)),
        dtype=dtype,
        **(DEFAULTS | (potential or {})),
    ).eval()


POTENTIALS: dict[str, Callable[[torch.dtype], Potential]] = {
    "nequip": lambda dtype: nequip(dtype),
    "nequip-natural-3-layers": lambda dtype: nequip(dtype, parity="natural", layers=3, channels=[8, 5, 3]),
    "nequip-l3-readout": lambda dtype: nequip(dtype, parity="natural", l_max=3, readout_hidden=[8]),
    "nequip-xplor-no-self-connection": lambda dtype: nequip(
        dtype, envelope="xplor", xplor_onset=3.2, self_connection=False, bessel_trainable=True, l_max=1
    ),
    "nequip-so3": lambda dtype: nequip(dtype, parity="none", layers=3, channels=4),
    "nequip-zbl": lambda dtype: nequip(dtype, {"zbl": True}, l_max=1),
    "nequip-as-imported": lambda dtype: nequip(dtype, {"subtract_isolated": False}, mean_neighbors=3.0),
}


@pytest.fixture(params=list(POTENTIALS))
def name(request: pytest.FixtureRequest) -> str:
    """Of the model under test."""
    return request.param


@pytest.fixture
def double(name: str) -> Potential:
    """The model in float64."""
    return POTENTIALS[name](torch.float64)


@pytest.fixture(params=["float64", "float32"])
def potential(name: str, request: pytest.FixtureRequest) -> Potential:
    """The model in each precision."""
    return POTENTIALS[name](getattr(torch, request.param))
