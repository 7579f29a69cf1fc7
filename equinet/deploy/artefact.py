"""Exported models, read back into Python: called with a graph, as the model that they came from."""

import zipfile
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from equinet.deploy.domain import as_domain
from equinet.deploy.header import HEADER, REFERENCES, Header, parse_header
from equinet.deploy.references import Reference, from_json
from equinet.deploy.scripted import by_receivers
from equinet.errors import InputError
from equinet.graph import AtomicGraph, num_graphs, split, volumes
from equinet.models import available_device
from equinet_kernels import ghosts_of

Results = dict[str, Tensor]
"""By the names of :data:`equinet.deploy.references.QUANTITIES`."""


class Program(Protocol):
    """What runs: called with the eight tensors of a graph, dense, and the modal where there are several."""

    def __call__(self, *tensors: Tensor) -> Results:
        """The quantities."""


class Artefact:
    """An exported model.

    Args:
        header: what the file says of itself.
        program: what runs.
        references: structures with the model's answers.
        device: where it runs.
    """

    def __init__(self, header: Header, program: Program, references: list[Reference], device: torch.device) -> None:
        self.header = header
        self.program = program
        self.references = references
        self.device = device

    def __call__(self, graph: AtomicGraph, modal: Tensor | None = None) -> Results:
        """Energies and derivatives of the structures; inputs may lie in memory, and edges come, as they like.

        Args:
            graph: one structure or a batch, anywhere.
            modal: [B] level of theory, where there are several.

        Raises:
            InputError: an element that the model does not know.
        """
        unknown = sorted(set(graph.numbers.tolist()) - set(self.header.species))
        if unknown:
            raise InputError(f"the model does not know the atomic numbers {unknown}, only {self.header.species}")
        tensors = [*graph, *([] if modal is None else [modal])]
        return self.program(*(tensor.to(self.device).contiguous() for tensor in tensors))


def load_artefact(path: str | Path, device: str | None = None) -> Artefact:
    """Read an exported model.

    Args:
        path: a file that ``equinet export`` wrote.
        device: "cpu", "cuda" or "cuda:N"; None: the kind it was made for.

    Raises:
        InputError: no such file, no artefact of ours, damaged, of a newer format; one for another device, or (an
            AOTInductor package) another version of torch.
    """
    path = Path(path)
    header, references = read_embedded(path)
    there = available_device(device or header.device)
    if header.kind == "aoti":
        if there.type != header.device:
            raise InputError(f"{path} was compiled for {header.device}; export it again with --device {there.type}")
        from equinet.deploy.aoti import load_program

        return Artefact(header, load_program(path, header, there), references, there)
    module = torch.jit.load(path, map_location=there)
    program = _Domains(module) if header.kind == "lammps" else module
    return Artefact(header, program, references, there)


def read_embedded(path: Path) -> tuple[Header, list[Reference]]:
    """An artefact's header and references, read without running or unpickling anything.

    Raises:
        InputError: see :func:`load_artefact`.
    """
    if not path.is_file():
        raise InputError(f"no file {path}; give a file that equinet export wrote")
    try:
        with zipfile.ZipFile(path) as archive:
            inside = {Path(name).name: name for name in archive.namelist()}
            texts = {name: archive.read(inside[name]).decode() for name in (HEADER, REFERENCES) if name in inside}
    except (zipfile.BadZipFile, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no exported model, or is damaged ({error})") from None
    if len(texts) < 2:
        raise InputError(f"{path} was not written by equinet export: it has no {HEADER}")
    try:
        references = from_json(texts[REFERENCES])
    except (ValueError, TypeError):
        raise InputError(f"{path} has damaged structures to check it by ({REFERENCES}); export it again") from None
    return parse_header(texts[HEADER], path), references


class _Domains:
    """A LAMMPS artefact called as the others are: one structure at a time, its images as ghosts."""

    def __init__(self, module: torch.jit.ScriptModule) -> None:
        self.module = module

    def __call__(self, *tensors: Tensor) -> Results:
        graph = by_receivers(AtomicGraph(*tensors))
        found: dict[str, list[Tensor]] = {"atom_energies": [], "forces": [], "virial": []}
        for single in split(graph):
            atoms, domain = len(single.numbers), as_domain(single)
            with ghosts_of(domain.owners):
                energies, forces, virial, moments = self.module(*domain[:4], atoms, len(domain.owners) == 0)
            if len(moments) and not torch.allclose(moments.sum(0), virial, rtol=1e-4, atol=1e-6):
                raise RuntimeError("moments of the atoms do not sum to the virial")
            found["atom_energies"].append(energies)
            found["forces"].append(forces[:atoms].clone().index_add_(0, domain.owners, forces[atoms:]))
            found["virial"].append(virial.unsqueeze(0))
        joined: dict[str, Any] = {name: torch.cat(parts) for name, parts in found.items()}
        energy = torch.zeros(num_graphs(graph), dtype=torch.float64).index_add_(0, graph.batch, joined["atom_energies"])
        return {"energy": energy, **joined, "stress": -joined["virial"] / volumes(graph).view(-1, 1, 1)}
