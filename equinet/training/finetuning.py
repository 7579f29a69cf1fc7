"""Training that starts from a trained potential, the parent: settings, the potential at the first step, replay.

What happens to the parent, in order: one more level of theory, or one of several alone (:mod:`equinet.models.modals`);
references fitted to the new data (:mod:`equinet.data.energy_shift`); parts frozen (:mod:`equinet.models.groups`);
low-rank updates added (:mod:`equinet.nn.lora`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Union

from equinet.data import (
    EnergyShift,
    LabelKeys,
    Modals,
    Record,
    draw_replay,
    fit_energy_shift,
    mark,
    read_records,
    read_structures,
    shift_labels,
)
from equinet.elements import SYMBOLS
from equinet.errors import InputError
from equinet.files import sha256
from equinet.models import Potential, add_modal, freeze, load_model, one_modal, read_header, with_shifted_references
from equinet.nn import add_low_rank_updates
from equinet.training.evaluation import predict_records

UNNAMED_LEVEL = "parent"
"""What the level of a parent that knows one is called beside a new one, unless ``from_modal`` says otherwise."""


@dataclass(frozen=True)
class FineTuning:
    """Start from a trained potential. With a parent, ``model.architecture`` is the parent's and need not be given.

    Args:
        parent: model file to start from; null trains from scratch.
        refit_isolated_energies: fit E0 to E_label - E_parent of the training set. Where its compositions do not tell
            elements apart, the smallest shift is taken, which is right in the proportions of the data only, and said
            so; with replayed structures that is refused, unless "minimal" asks for it.
        freeze: parts that are not trained: embedding, basis, layers, layers.0, layers.0.radial, ..., radial, linear,
            self_connection (of all layers), readout, modals.
        lr_factors: by part, what its learning rate is multiplied by.
        lora_rank: train low-rank updates of the equivariant linear maps instead of the maps; all else (embedding,
            radial, biases) is trained unless it is frozen.
        lora_alpha: updates are multiplied by alpha / rank; null for 1.
        new_modal: name of a level of theory to add for the new data; the parent's are kept.
        from_modal: the parent's level that the new one starts as (its name, where the parent has none for its only
            level); without ``new_modal`` the one to take alone.
    """

    parent: str | None = None
    refit_isolated_energies: Union[bool, Literal["minimal"]] = True
    freeze: list[str] = field(default_factory=list)
    lr_factors: dict[str, float] = field(default_factory=dict)
    lora_rank: int | None = None
    lora_alpha: float | None = None
    new_modal: str | None = None
    from_modal: str | None = None

    def __post_init__(self) -> None:
        if self.parent is None and replace(self, parent="") != FineTuning(parent=""):
            raise InputError("model.finetune has settings, but no parent; give model.finetune.parent FILE")
        for name, factor in self.lr_factors.items():
            if not 0.0 < factor < float("inf"):
                raise InputError(
                    f"model.finetune.lr_factors.{name} is {factor}; it must be above 0; to train nothing of "
                    "it, freeze it"
                )
        if self.lora_rank is not None and self.lora_rank < 1:
            raise InputError(f"model.finetune.lora_rank is {self.lora_rank}; it must be at least 1, or null")
        if self.lora_alpha is not None and (self.lora_rank is None or not 0.0 < self.lora_alpha < float("inf")):
            raise InputError(
                f"model.finetune.lora_alpha is {self.lora_alpha}; it must be positive, and goes with lora_rank"
            )


@dataclass(frozen=True)
class Replay:
    """Structures of the parent's training data, mixed into the new ones so that it forgets less.

    Args:
        path: file of structures; null replays nothing.
        label: "file" takes the labels in the file, shifted as E0 was; "parent" those that the parent predicts, for
            structures without labels of its level of theory.
        ratio: structures replayed in an epoch for each new one.
        turns: epochs that replay different structures, then the first come again; fewer where the file has not so many.
            All of them are read, and labelled, before training.
        weight: of each of them in the loss; a new one's is 1.
        keys: names of the keys that hold the labels in the file; null finds them.
    """

    path: str | None = None
    label: Literal["file", "parent"] = "file"
    ratio: float = 1.0
    turns: int = 20
    weight: float = 1.0
    keys: LabelKeys = LabelKeys()  # noqa: RUF009 (a frozen dataclass)

    def __post_init__(self) -> None:
        if self.path is None and replace(self, path="") != Replay(path=""):
            raise InputError("data.replay has settings, but no structures; give data.replay.path FILE")
        for name in ("ratio", "weight"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise InputError(f"data.replay.{name} is {getattr(self, name)}; it must be above 0")
        if self.turns < 1:
            raise InputError(f"data.replay.turns is {self.turns}; it must be at least 1")

    def each_epoch(self, new: int) -> int:
        """Structures replayed in an epoch, beside so many new ones."""
        return max(1, round(self.ratio * new))


@dataclass(frozen=True)
class Start:
    """The potential at the first step, and what was done to the parent."""

    potential: Potential
    shifts: Mapping[str | None, EnergyShift]  # by level of theory; None where there is one without a name
    provenance: Mapping[str, Any]  # of the parent: file, its SHA-256, and what it says of itself

    def describe(self) -> list[str]:
        """Lines for the user."""
        first = f"starting from {self.provenance['file']}, {len(self.potential.species)} elements"
        return [first, *self.describe_shifts()]

    def describe_shifts(self) -> list[str]:
        """Lines for the user: what was done to the parent's reference energies; none where nothing was."""
        described = {level: shift.describe() for level, shift in self.shifts.items()}
        return [f"{level}: {line}" if level else line for level, lines in described.items() for line in lines]


def parent_settings(settings: FineTuning) -> dict[str, Any]:
    """Keys of ``model`` that the parent decides, with their values: from the head of its file, no weight is read.

    Raises:
        InputError: a file that cannot be read; a compiled parent; levels of theory that it does not have.
    """
    header = read_header(str(settings.parent))
    if header.get("architecture") != "nequip":
        raise InputError(f"{settings.parent} is compiled and cannot be trained; give the file it was compiled from")
    architecture = dict(header["hyper_parameters"])
    levels = _levels(settings, architecture.get("modals") or [])
    if levels != architecture.get("modals", []) and not settings.new_modal:
        architecture["biases"] = True  # what the level added
    architecture["modals"] = levels
    values = {f"architecture.{name}": value for name, value in architecture.items()}
    return values | {name: bool(header[name]) for name in ("subtract_isolated", "zbl")}


def start_from(settings: FineTuning, records: Sequence[Record], modals: Modals, replays: bool = False) -> Start:
    """Load the parent and fit it to new data before the first step.

    Args:
        settings: with a parent.
        records: new data to train on, isolated atoms among them.
        modals: the levels of theory of the potential to be trained; says which each record is of.
        replays: whether structures of other compositions are replayed: E0 that the new data leave open shifts them.

    Raises:
        InputError: what :func:`parent_settings` and :func:`equinet.data.fit_energy_shift` raise; elements that the
            parent does not know.
    """
    path = Path(str(settings.parent))
    potential = parent = load_model(path)
    _levels(settings, parent.modals)
    _check_elements(parent, records, settings)
    if settings.new_modal is not None:
        potential = add_modal(parent, settings.new_modal, settings.from_modal or UNNAMED_LEVEL)
    elif settings.from_modal is not None:
        potential = one_modal(parent, settings.from_modal)
    shifts: dict[str | None, EnergyShift] = {}
    if settings.refit_isolated_energies:
        for level, own in _by_level(records, modals).items():
            single = one_modal(potential, level)
            energies = [frame.energy for frame in predict_records(single, own)]
            isolated = dict(zip(single.species, single.isolated_energies.tolist(), strict=True))
            shifts[level] = shift = fit_energy_shift(
                own,
                energies,
                isolated if single.subtract_isolated else None,
                "refuse" if replays and settings.refit_isolated_energies != "minimal" else "minimal",
            )
            potential = with_shifted_references(potential, shift.isolated, shift.bound, level)
    provenance = {"file": str(path), "sha256": sha256(path), "provenance": parent.provenance}
    return Start(potential, shifts, provenance)


def prepare(potential: Potential, settings: FineTuning) -> None:
    """Freeze parts and add low-rank updates, in place.

    Raises:
        InputError: no such part; nothing left to train.
    """
    freeze(potential, settings.freeze, "model.finetune.freeze")
    if settings.lora_rank is not None and not add_low_rank_updates(potential, settings.lora_rank, settings.lora_alpha):
        raise InputError("model.finetune.lora_rank has nothing to act on: every linear map is frozen; leave it out")


def new_records(records: Sequence[Record], data_set: str, settings: FineTuning, modals: Modals) -> list[Record]:
    """The new data, marked with their name and, where a level of theory is added for them, as of that level."""
    if settings.new_modal is not None:
        records = _of_level(records, settings.new_modal, modals)
    return mark(records, data_set)


def replayed(replay: Replay, start: Start, settings: FineTuning, new: int, modals: Modals, seed: int) -> list[Record]:
    """Structures to replay in turn, labelled and marked (:mod:`equinet.data.replay`).

    Args:
        replay: with a path.
        start: of the training.
        settings: of the same.
        new: number of new structures.
        modals: levels of theory of the potential; a record that does not say is of the one a new level started from.
        seed: of the draw.

    Raises:
        InputError: a file that cannot be read or has too few structures; an element the parent does not know.
    """
    path = Path(str(replay.path))
    records = read_structures(path) if replay.label == "parent" else read_records(path, replay.keys)
    drawn = draw_replay(records, replay.each_epoch(new), replay.turns, seed)
    _check_elements(start.potential, drawn, settings)
    if settings.new_modal is not None:
        drawn = _of_level(drawn, settings.from_modal or UNNAMED_LEVEL, modals)
    marked = mark(drawn, path.stem, replay.weight)
    labelled: list[Record] = []
    for name, own in _by_level(marked, modals).items():
        if replay.label == "parent":
            labelled += label_records(one_modal(start.potential, name), own)
        else:
            labelled += shift_labels(own, start.shifts[name]) if name in start.shifts else own
    return labelled


def label_records(potential: Potential, records: Sequence[Record]) -> list[Record]:
    """Copies whose labels are what a potential predicts: energy, forces and, of three-dimensional cells, virial.

    Raises:
        InputError: an element the potential does not know, with the frame.
    """
    labelled = []
    for frame in predict_records(potential, records):
        volume, stress = frame.record.volume, frame.stress
        virial = None if stress is None or volume is None else -volume * stress
        labelled.append(
            replace(frame.record, energy=frame.energy, forces=frame.forces, virial=virial, energy_key="prediction")
        )
    return labelled


def _levels(settings: FineTuning, known: list[str]) -> list[str]:
    """Levels of theory of the potential to be trained."""
    start, new = settings.from_modal, settings.new_modal
    names = ", ".join(known)
    if known and start is None and new is not None:
        raise InputError(
            f"{settings.parent} knows the levels of theory {names}; "
            f"say which of them {new} starts from with model.finetune.from_modal"
        )
    if known and start is not None and start not in known:
        raise InputError(f"model.finetune.from_modal is {start}, but {settings.parent} knows {names}")
    if not known and new is None and start is not None:
        raise InputError(f"{settings.parent} knows one level of theory; leave out model.finetune.from_modal")
    if new is not None:
        return [*(known or [start or UNNAMED_LEVEL]), new]
    return known if start is None else []


def _by_level(records: Sequence[Record], modals: Modals) -> dict[str | None, list[Record]]:
    """Records of each level of theory; all under None where there is one."""
    if not modals.names:
        return {None: list(records)}
    levels: dict[str | None, list[Record]] = {}
    for record in records:
        levels.setdefault(modals.names[modals.index(record)], []).append(record)
    return levels


def _of_level(records: Sequence[Record], level: str, modals: Modals) -> list[Record]:
    """The records, those that do not say which level of theory they are of saying so."""
    return [replace(record, info={modals.key: level, **record.info}) for record in records]


def _check_elements(parent: Potential, records: Sequence[Record], settings: FineTuning) -> None:
    unknown = {int(z): record.source for record in reversed(records) for z in record.numbers}
    unknown = {z: source for z, source in unknown.items() if z not in parent.species}
    if unknown:
        names = ", ".join(f"{SYMBOLS[z]} ({source})" for z, source in sorted(unknown.items()))
        raise InputError(
            f"the parent {settings.parent} does not know {names}; leave these frames out, or train from scratch"
        )
