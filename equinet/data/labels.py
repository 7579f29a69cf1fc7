"""From the structures of a file to records, one at a time: labels found, checked, converted, counted.

A file of any size passes through; what must be known of all its frames is a tally of a few numbers and names.
"""

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from equinet.data.keys import (
    LABELS,
    Label,
    LabelKeys,
    choose_keys,
    keys_of,
    may_be_label,
    options_of,
    other_candidates,
    refuse_unknown_keys,
    value_of,
)
from equinet.data.label_units import FileUnits, refuse_foreign_units
from equinet.data.label_values import checked_label
from equinet.data.record import Record
from equinet.data.rivals import contradicts, free_energy_differs
from equinet.errors import DataWarning, InputError

SHOWN_KEYS = 1000
"""So many keys of a file are remembered for messages; a file may have a key of its own in every frame."""


@dataclass(frozen=True)
class ReadReport:
    """What was read from a file, for the log and the model's provenance."""

    path: str
    frames: int  # frames read
    unlabelled: int  # of these, left out because they carry no label
    keys: LabelKeys  # where each label was read from; "free_energy, else energy" if frames differ
    frames_with_energy: int
    frames_with_forces: int
    frames_with_virial: int  # from a stress or a virial
    free_energy_differs: int  # frames whose energy and free energy differ by more than 1 meV/atom
    stress_ignored: int  # frames with a stress label but without three periodic directions
    units: str = FileUnits.text  # of the file

    @property
    def other_units(self) -> str | None:
        """What the file is in, where that is not simply eV and Angstrom."""
        return None if self.units == FileUnits.text else self.units

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


@dataclass
class Tally:
    """What has been seen of a file so far."""

    frames: int = 0
    unlabelled: int = 0
    with_energy: int = 0
    with_forces: int = 0
    with_virial: int = 0
    free_energy_differs: int = 0
    stress_ignored: int = 0
    energy_keys: Counter[str] = field(default_factory=Counter)  # frames whose energy was read from the key
    energy_keys_of_structures: Counter[str] = field(default_factory=Counter)  # the same without isolated atoms
    rivals: Counter[tuple[Label, str, str]] = field(default_factory=Counter)  # label, other key, key in use
    key_sets: Counter[frozenset[str]] = field(default_factory=Counter)  # of keys that may be labels
    keys: set[str] = field(default_factory=set)  # all, up to SHOWN_KEYS

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            **{name: value for name, value in vars(self).items() if isinstance(value, int)},
            "energy_keys": dict(sorted(self.energy_keys.items())),
            "energy_keys_of_structures": dict(sorted(self.energy_keys_of_structures.items())),
            "rivals": sorted([*names, count] for names, count in self.rivals.items()),
            "key_sets": sorted([sorted(names), count] for names, count in self.key_sets.items()),
            "keys": sorted(self.keys),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Tally":
        """Return what :meth:`to_dict` wrote."""
        return cls(
            **{
                **values,
                "energy_keys": Counter(values["energy_keys"]),
                "energy_keys_of_structures": Counter(values["energy_keys_of_structures"]),
                "rivals": Counter({tuple(names): count for *names, count in values["rivals"]}),
                "key_sets": Counter({frozenset(names): count for names, count in values["key_sets"]}),
                "keys": set(values["keys"]),
            }
        )


class LabelReader:
    """Turns the frames of one file into records: :meth:`observe` and :meth:`read` each, then :meth:`finish`.

    Observed all before the first is read, a file is judged as a whole. Observed and read in turn, it passes in one go;
    a frame that would have changed how an earlier one was read is then refused when it comes.

    Args:
        path: the file, for messages.
        keys: names of the keys that hold the labels; None finds them (:mod:`equinet.data.keys`).
        tally: of the frames before, where the file was left in the middle.
        units: of the file; None for ours.
    """

    def __init__(
        self,
        path: str,
        keys: LabelKeys | None = None,
        tally: Tally | None = None,
        units: FileUnits | None = None,
    ) -> None:
        self.path = path
        self.keys = keys or LabelKeys()
        self.tally = tally or Tally()
        self.units = units or FileUnits()
        self._named = {name for name in asdict(self.keys).values() if name is not None}
        self._chosen: dict[Label, tuple[str, ...]] | None = None
        self._rivals: dict[frozenset[str], list[tuple[Label, str]]] = {}

    def observe(self, atoms: Atoms) -> None:
        """Take notice of a frame's keys."""
        keys = keys_of(atoms)
        if len(self.tally.keys) < SHOWN_KEYS:
            self.tally.keys |= keys
        candidates = frozenset(key for key in keys if may_be_label(key) or key in self._named)
        if candidates not in self.tally.key_sets:
            self._chosen = None
            self._rivals.clear()
        self.tally.key_sets[candidates] += 1

    def read(self, atoms: Atoms, source: str) -> Record | None:
        """Return the frame's record, or None where it has no label.

        Args:
            atoms: a frame that has been observed.
            source: file and frame.

        Raises:
            InputError: labels that are not finite, not numbers, or of a wrong shape; stress and virial that
                disagree; mixed keys.
        """
        chosen = self._choice()
        tally = self.tally
        record = _record(atoms, source, chosen)
        tally.frames += 1
        tally.free_energy_differs += free_energy_differs(atoms)
        tally.stress_ignored += not atoms.pbc.all() and any(value_of(atoms, k) is not None for k in chosen["stress"])
        for label, rival in self._rivals_of(atoms):
            if contradicts(atoms, rival, chosen[label]):
                tally.rivals[label, rival, chosen[label][0]] += 1
        if record.energy is None and record.forces is None and record.virial is None:
            tally.unlabelled += 1
            return None
        tally.with_energy += record.energy is not None
        tally.with_forces += record.forces is not None
        tally.with_virial += record.virial is not None
        if record.energy_key is not None:
            tally.energy_keys[record.energy_key] += 1
            if len(atoms) > 1 or atoms.pbc.any():  # the energy of an isolated atom is often typed in by hand
                tally.energy_keys_of_structures[record.energy_key] += 1
        return record

    def finish(self) -> ReadReport:
        """Judge the file as a whole, warn of what is odd, and report.

        Raises:
            InputError: a named key that no frame has; no label in any frame; free energies of some frames beside
                plain energies of others where the two are not one.
        """
        tally, name = self.tally, self.path
        refuse_unknown_keys(self.keys, tally.keys | set().union(*tally.key_sets), name)
        chosen = self._choice()
        if self.keys.energy is None:
            self._refuse_two_energies(chosen["energy"])
        for (label, rival, used), count in sorted(tally.rivals.items()):
            _warn(
                f"{name}: {count} frames have another {label} under {rival!r} than under {used!r}, which is used; "
                f"name one with {options_of(label)}"
            )
        if tally.stress_ignored:
            _warn(
                f"{name}: the stress label of {tally.stress_ignored} frames is ignored: they are not periodic in "
                "three directions, so their cell's volume is padding; give a virial instead"
            )
        if tally.unlabelled == tally.frames:
            raise InputError(
                f"{name}: no frame has an energy, forces, stress or virial; keys in the file: "
                f"{', '.join(sorted(tally.keys)) or 'none'}; name the right ones with "
                f"{options_of('energy', 'forces', 'stress')}"
            )
        if tally.unlabelled:
            _warn(f"{name}: {tally.unlabelled} of {tally.frames} frames carry no label and are left out")
        if tally.free_energy_differs and self.keys.energy is None:
            _warn(
                f"{name}: energy and free_energy differ by more than 1 meV/atom in {tally.free_energy_differs} "
                f"frames; {chosen['energy'][0]} is used; forces belong to free_energy"
            )
        used_keys = {label: chosen[label][0] if chosen[label] else None for label in LABELS}
        used_keys["energy"] = ", else ".join(sorted(tally.energy_keys, key=chosen["energy"].index)) or None
        return ReadReport(
            path=name,
            frames=tally.frames,
            unlabelled=tally.unlabelled,
            keys=LabelKeys(**used_keys),
            frames_with_energy=tally.with_energy,
            frames_with_forces=tally.with_forces,
            frames_with_virial=tally.with_virial,
            free_energy_differs=tally.free_energy_differs,
            stress_ignored=tally.stress_ignored,
            units=self.units.text,
        )

    def _choice(self) -> dict[Label, tuple[str, ...]]:
        if self._chosen is None:
            self._chosen = choose_keys(self.tally.key_sets, self.keys, self.path)
            refuse_foreign_units(self._chosen, self.units.of_keys, self.path)
        return self._chosen

    def _rivals_of(self, atoms: Atoms) -> list[tuple[Label, str]]:
        """Other keys of a frame that its labels, where the user named none, might have been read from."""
        candidates = frozenset(filter(may_be_label, keys_of(atoms)))
        if candidates not in self._rivals:
            chosen = self._choice()
            self._rivals[candidates] = [
                (label, rival)
                for label in LABELS
                if getattr(self.keys, label) is None and chosen[label]
                for rival in other_candidates(label, candidates, chosen[label])
            ]
        return self._rivals[candidates]

    def _refuse_two_energies(self, chosen: tuple[str, ...]) -> None:
        if len(chosen) < 2:
            return
        free, plain = chosen
        without, differs = self.tally.energy_keys_of_structures[plain], self.tally.free_energy_differs
        if differs and without:
            raise InputError(
                f"{self.path}: mixed energy keys: {without} frames have {plain!r} only, and in {differs} others "
                f"{free!r} and {plain!r} differ by more than 1 meV/atom; name one with {options_of('energy')}"
            )


def _record(atoms: Atoms, source: str, chosen: dict[Label, tuple[str, ...]]) -> Record:
    values: dict[Label, NDArray[np.float64]] = {}
    used: dict[Label, str] = {}
    for label in LABELS:
        for key in chosen[label]:
            value = value_of(atoms, key)
            if value is not None:
                values[label], used[label] = checked_label(label, value, len(atoms), key, source), key
                break
    virial = values.get("virial")
    if "stress" in values and atoms.pbc.all():
        from_stress = -abs(atoms.cell.volume) * values["stress"]
        if virial is None:
            virial = from_stress
        elif np.abs(virial - from_stress).max() > 0.01 * np.abs(virial).max() + 1e-3:
            raise InputError(
                f"{source}: virial {used['virial']!r} and stress {used['stress']!r} disagree (virial "
                f"= -volume * stress, in eV); switch one off: {options_of('stress', value='=none')}"
            )
    taken = {key for keys in chosen.values() for key in keys}
    return Record(
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        energy=float(values["energy"]) if "energy" in values else None,
        forces=values.get("forces"),
        virial=virial,
        info={str(k): v for k, v in atoms.info.items() if k not in taken},
        source=source,
        energy_key=used.get("energy"),
    )


def _warn(message: str) -> None:
    warnings.warn(message, DataWarning)
