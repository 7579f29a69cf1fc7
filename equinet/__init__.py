"""equinet: machine-learned interatomic potentials with E(3)-equivariant graph networks.

The public face (imported on first use, so that the command line answers at once)::

    potential = equinet.load("model.safetensors")
    calc = equinet.Calculator("model.safetensors", device="cuda")
    results = equinet.predict(potential, list_of_atoms)
    model = equinet.TorchSimModel("model.safetensors", device="cuda")  # an extra: pip install 'equinet-mlip[torchsim]'
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from equinet.models import load_model as load
    from equinet.simulate import Calculator, predict
    from equinet.simulate.torchsim import TorchSimModel as TorchSimModel  # not in __all__: it may not be installed

__version__ = "0.1.0"
__all__ = ["Calculator", "__version__", "load", "predict"]

_PUBLIC = {
    "load": ("equinet.models", "load_model"),
    "Calculator": ("equinet.simulate", "Calculator"),
    "TorchSimModel": ("equinet.simulate.torchsim", "TorchSimModel"),
    "predict": ("equinet.simulate", "predict"),
}


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        module, attribute = _PUBLIC[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'equinet' has no attribute {name!r}")
