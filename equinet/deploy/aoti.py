"""AOTInductor packages: energies and derivatives traced as one graph, compiled ahead of time for a kind of device."""

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equinet.deploy.header import Header
from equinet.deploy.references import QUANTITIES
from equinet.deploy.scripted import by_receivers, unknown_elements
from equinet.errors import InputError
from equinet.graph import AtomicGraph, collate, move
from equinet.models import Potential, Prediction
from equinet.models.compilation import drawn_structures
from equinet.models.tracing import trace
from equinet_kernels import use

LEVELS = ("DEFAULT", "AVX2", "AVX512")
"""What processors can do, as torch calls it, ascending: code compiled for one does not run on those before."""


def compile_package(potential: Potential, header: Header, files: dict[str, str], path: Path) -> None:
    """Write a package for ``torch._inductor.aoti_load_package``, or ``AOTIModelPackageLoader`` in C++.

    It takes the tensors of an :class:`~equinet.graph.AtomicGraph`, dense (and the modal, where there are several levels
    of theory), its edges in any order, and gives the quantities of :data:`QUANTITIES` in that order. Inputs that are
    strided, of another dtype or shape are refused: compiled code would read them as if they were dense. So are, on a
    CPU, elements that the potential does not know.

    Args:
        potential: on the device that the package is for, in eval mode.
        header: of the artefact.
        files: texts to embed.
        path: of the package.

    Raises:
        InputError: torch cannot compile it.
    """
    frozen = potential.frozen()
    device = potential.scale.device
    singles = drawn_structures(potential.species, potential.cutoff, seed=0)
    graph = move(collate(singles), device)
    modal = torch.arange(len(singles), device=device) % len(potential.modals) if potential.modals else None
    with use("reference" if header.operators == "torch" else None):
        traced = trace(_Called(frozen), graph, modal)
        _keep(traced, QUANTITIES)
        inputs = (*graph, *([] if modal is None else [modal]))
        atoms, edges, structures = (torch.export.Dim(name) for name in ("atoms", "edges", "structures"))
        # of the fields of a graph, in their order, and of the modal
        sizes = [atoms, atoms, structures, structures, atoms, edges, edges, edges, structures]
        shapes = tuple({0: size} for size in sizes[: len(inputs)])
        try:
            with _input_checks(), _sort_of_torch(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, of its own future
                program = torch.export.export(traced, inputs, dynamic_shapes=shapes, strict=False)
                torch._inductor.aoti_compile_and_package(
                    program,
                    package_path=str(path),
                    inductor_configs={"aot_inductor.check_lowerbound": False},
                )
        except Exception as error:
            words = " ".join(str(error).split())[:400]
            what = f"torch {torch.__version__} cannot compile this model"
            raise InputError(f"{what}: {type(error).__name__}: {words}") from error
    _embed(path, files)


def _keep(traced: torch.fx.GraphModule, names: tuple[str, ...]) -> None:
    """Of a prediction's fields, return these alone."""
    (output,) = [node for node in traced.graph.nodes if node.op == "output"]
    fields = dict(zip(Prediction._fields, output.args[0], strict=True))
    output.args = (tuple(fields[name] for name in names),)
    traced.graph.eliminate_dead_code()
    traced.recompile()


@contextmanager
def _input_checks() -> Iterator[None]:
    """Make the checks of inputs, which AOTInductor writes into its code for debugging, run in every call.

    Raises:
        InputError: this version of torch writes them in another way.
    """
    from torch._inductor.codegen.cpp_wrapper_cpu import CppWrapperCpu

    original = CppWrapperCpu.generate_input_output_runtime_checks

    def generate(wrapper: Any) -> None:
        original(wrapper)
        lines = wrapper.prefix._lines
        switches = [k for k, line in enumerate(lines) if "const static bool result = env_var_value" in str(line)]
        if len(switches) != 1:
            raise InputError(f"torch {torch.__version__} has no checks of inputs that could be switched on")
        lines[switches[0]] = "const static bool result = true; (void) env_var_value;"

    CppWrapperCpu.generate_input_output_runtime_checks = generate  # type: ignore[method-assign]
    try:
        yield
    finally:
        CppWrapperCpu.generate_input_output_runtime_checks = original  # type: ignore[method-assign]


@contextmanager
def _sort_of_torch() -> Iterator[None]:
    """Leave sorting to torch: else code is compiled for as few edges as a sort of AOTInductor's own takes, 32,766."""
    from torch._inductor import lowering

    sort = torch.ops.aten.sort.stable
    original = lowering.lowerings[sort]
    lowering.lowerings[sort] = lowering.sort_fallback
    try:
        yield
    finally:
        lowering.lowerings[sort] = original


def _embed(path: Path, files: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].split("/")[0]
        for name, text in files.items():
            archive.writestr(f"{root}/extra/{name}", text)


class _Called(nn.Module):
    """A potential as a package calls it: edges in any order, elements checked (on a CPU: it would stop a GPU).

    Args:
        potential: frozen, in eval mode.
    """

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential

    def differentiated(self, graph: AtomicGraph, modal: Tensor | None) -> Prediction:
        """Energies and their derivatives; traced, and never run."""
        numbers = graph.numbers
        if numbers.device.type == "cpu":
            species = torch.tensor(self.potential.species)
            known = (numbers.unsqueeze(1) == species).any(dim=1).all()
            torch._assert_async(known, unknown_elements(self.potential.species))
        return self.potential.differentiated(by_receivers(graph), modal)


class _Program:
    """A package, called as the other artefacts are."""

    def __init__(self, package: Any) -> None:
        self.package = package

    def __call__(self, *tensors: Tensor) -> dict[str, Tensor]:
        # a single row may have any stride and count as dense; compiled code is told the usual one
        dense = [torch.empty(one.shape, dtype=one.dtype, device=one.device).copy_(one) for one in tensors]
        return dict(zip(QUANTITIES, self.package(*dense), strict=True))


def load_program(path: Path, header: Header, device: torch.device) -> _Program:
    """Load a package.

    Raises:
        InputError: it was made by another version of torch, or for another kind of processor.
    """
    made, here = (version.split("+")[0].rsplit(".", 1)[0] for version in (header.torch_version, torch.__version__))
    if made != here:
        raise InputError(f"{path} was compiled with torch {made} and this is {here}; export it again here")
    if device.type == "cpu" and LEVELS.index(header.processor) > LEVELS.index(processor()):
        raise InputError(f"{path} was compiled for {header.processor}, this machine has {processor()}; export it here")
    index = device.index if device.index is not None else -1
    return _Program(torch._inductor.aoti_load_package(str(path), device_index=index))


def processor() -> str:
    """What this machine's processor can do, one of :data:`LEVELS`."""
    capability = torch.backends.cpu.get_cpu_capability()
    return capability if capability in LEVELS else LEVELS[0]
