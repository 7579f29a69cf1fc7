import pytest
import torch

from equinet.models import NequIPArchitecture, Potential, save_model


def small_potential(dtype: torch.dtype = torch.float64) -> Potential:
    """Carbon and silicon, drawn weights; a hundred evaluations a second."""
    torch.manual_seed(3)
    architecture = NequIPArchitecture(cutoff=4.5, layers=2, l_max=1, channels=4, mean_neighbors=15.0)
    return Potential(
        architecture,
        species=[6, 14],
        isolated_energies=[-10.0, -20.0],
        scale=2.0,
        shift=[-1.0, -2.0],
        dtype=dtype,
        provenance={"data": "none"},
    ).eval()


@pytest.fixture
def potential() -> Potential:
    return small_potential()


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(small_potential(), path)
    return path
