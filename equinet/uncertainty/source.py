"""What every way of estimating uncertainty gives for a batch, before it is calibrated."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from equinet.graph import AtomicGraph
from equinet.models import Potential, Prediction


class Spread(NamedTuple):
    """A prediction and its variances, up to the factors that calibration finds. Everything is float64.

    Variances of vectors and tensors are means over their components, a third and a ninth of the trace of their
    covariance: the same however the structure is turned.
    """

    prediction: Prediction
    energy: Tensor  # [B] eV^2
    forces: Tensor  # [N] (eV/Angstrom)^2, of one component
    stress: Tensor  # [B] (eV/Angstrom^3)^2, of one component; NaN unless periodic in three directions
    features: Tensor  # [N, F] of each atom's environment, as the first model sees it


class Source(Protocol):
    """Where variances come from: the last layer of one model, or several models."""

    @property
    def kind(self) -> str:
        """Its name in files."""

    @property
    def features_fixed(self) -> bool:
        """Whether variances are those of a model whose features are taken for granted."""

    @property
    def potentials(self) -> Sequence[Potential]:
        """Its models, in eval mode on one device."""

    @property
    def freedom(self) -> float:
        """Degrees of freedom of a variance of one component; infinite where it is no estimate from a sample."""

    def __call__(self, graph: AtomicGraph) -> Spread:
        """Predict a batch on the models' device."""
