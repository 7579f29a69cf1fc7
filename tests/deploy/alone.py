"""A process in which equinet cannot be imported runs an artefact.

    python -I alone.py MODEL CALLS RESULTS [libequinet_ops.so]

CALLS holds lists of tensors, RESULTS gets what the artefact made of each, or the words of its error.
"""

import sys
from importlib.abc import MetaPathFinder
from typing import Any


class Absent(MetaPathFinder):
    """Hides the package."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Refuse what is ours."""
        if name.partition(".")[0] in ("equinet", "equinet_kernels"):
            raise ModuleNotFoundError(f"no module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())

import torch  # noqa: E402


def named(results: Any) -> dict[str, torch.Tensor]:
    """A package gives its results in this order."""
    if isinstance(results, dict):
        return results
    return dict(zip(("energy", "atom_energies", "forces", "virial", "stress"), results, strict=True))


def main() -> None:
    """Load, call, save."""
    model, calls, results, *library = sys.argv[1:]
    torch.set_num_threads(1)
    for path in library:
        torch.ops.load_library(path)
    if model.endswith(".pt2"):
        program = torch._inductor.aoti_load_package(model)
    else:
        program = torch.jit.load(model)
    found: list[Any] = []
    for tensors in torch.load(calls):
        try:
            found.append(named(program(*tensors)))
        except Exception as error:
            found.append(str(error))
    assert not [name for name in sys.modules if name.startswith("equinet")]
    torch.save(found, results)


main()
