"""Which key of a file holds which label: named by the user, or found by the rules written here.

Without a name, labels are looked for among the calculator results (``energy``, ``forces``, ``stress``, ...)
and then under the common names ``PREFIX + NAME`` of the tables below, upper or lower case. The first that
occurs is used.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from ase import Atoms

from equinet.errors import InputError

Label = Literal["energy", "forces", "stress", "virial"]
LABELS: tuple[Label, ...] = get_args(Label)

PREFIXES = ("", "ref_", "dft_", "qm_")
"""In order of preference; "" stands for calculator results, and for the same names in info or arrays."""

NAMES: dict[Label, tuple[str, ...]] = {
    # forces are the gradient of the free energy where the electronic levels are smeared, so it comes first
    "energy": ("free_energy", "energy"),
    "forces": ("forces", "force"),
    "stress": ("stress",),
    "virial": ("virial", "virials"),
}

NONE = "none"


@dataclass(frozen=True)
class LabelKeys:
    """The key that holds each label; None finds it (see the module), "none" reads no such label."""

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    virial: str | None = None


def keys_of(atoms: Atoms) -> set[str]:
    """Return the names of all values a frame carries: calculator results, info, arrays."""
    results = atoms.calc.results if atoms.calc is not None else {}
    return {str(k) for k in (*results, *atoms.info, *atoms.arrays)} - {"numbers", "positions"}


def value_of(atoms: Atoms, key: str) -> Any | None:
    """Return a frame's value under a key, or None: calculator results first, then info, then arrays."""
    results = atoms.calc.results if atoms.calc is not None else {}
    for place in (results, atoms.info, atoms.arrays):
        if place.get(key) is not None:
            return place[key]
    return None


def may_be_label(key: str) -> bool:
    """Whether a key is one that labels are looked for under."""
    return key.lower() in _COMMON


_COMMON = {prefix + stem for prefix in PREFIXES for stems in NAMES.values() for stem in stems}

KeySets = Mapping[frozenset[str], int]
"""Which keys frames have, and how many frames have exactly these."""


@dataclass(frozen=True)
class _Candidate:
    key: str  # as the file spells it
    prefix: str
    frames: frozenset[frozenset[str]]  # the key sets that have it


def choose_keys(key_sets: KeySets, keys: LabelKeys, path: str) -> dict[Label, tuple[str, ...]]:
    """Decide which key(s) each label is read from.

    With frames still to come the choice can grow (a label that no frame had), but a frame that has been read would
    never be read otherwise: what would need that is refused as soon as it is seen.

    Args:
        key_sets: of the frames seen.
        keys: what the user named; a name that no frame has is no key (see :func:`unknown_key`).
        path: the file, for messages.

    Returns:
        For each label its key, () for none. Only the energy may have two: ("free_energy", "energy") means the
        first where a frame has it, else the second.

    Raises:
        InputError: some frames under one key and others under another; labels that would come from different
            calculations.
    """
    known = set().union(*key_sets)
    chosen: dict[Label, tuple[str, ...]] = {}
    found: dict[Label, list[_Candidate]] = {}
    for label in LABELS:
        named = getattr(keys, label)
        found[label] = _candidates(label, key_sets)
        if named is None:
            chosen[label] = _automatic(label, found[label], key_sets, path)
        else:
            chosen[label] = (named,) if named in known and named != NONE else ()
    for label in LABELS[1:]:
        if keys.energy is None or getattr(keys, label) is None:
            _same_calculation(label, chosen, found, path)
    return chosen


def other_candidates(label: Label, keys: Iterable[str], chosen: tuple[str, ...]) -> list[str]:
    """Return those of a frame's keys that could have been the label too but were not chosen."""
    candidates = _candidates(label, {frozenset(keys): 1})
    return [candidate.key for candidate in candidates if candidate.key not in chosen]


def refuse_unknown_keys(keys: LabelKeys, known: Iterable[str], path: str) -> None:
    """Refuse a key that the user named and no frame has.

    Raises:
        InputError: with the nearest key there is.
    """
    known = set(known)
    for label in LABELS:
        named = getattr(keys, label)
        if named not in (None, NONE) and named not in known:
            raise InputError(_unknown_key(label, named, known, path))


def options_of(*labels: Label, value: str = "") -> str:
    """Return how a user names the keys of labels; it depends on the verb."""
    assert set(labels) <= {field.name for field in fields(LabelKeys)}
    training, other = (", ".join(f"--{prefix}keys.{label}{value}" for label in labels) for prefix in ("data.", ""))
    return f"{training} (equinet train) or {other} (equinet test, data build)"


def _candidates(label: Label, key_sets: KeySets) -> list[_Candidate]:
    spellings = sorted(set().union(*key_sets))
    found = []
    for prefix in PREFIXES:
        for stem in NAMES[label]:
            for key in spellings:
                if key.lower() == prefix + stem:
                    where = frozenset(names for names in key_sets if key in names)
                    found.append(_Candidate(key, prefix, where))
    return found


def _automatic(label: Label, found: list[_Candidate], key_sets: KeySets, path: str) -> tuple[str, ...]:
    if not found:
        return ()
    first = found[0]
    chosen, covered = [first.key], first.frames
    if label == "energy" and first.key.lower().endswith("free_energy"):
        for partner in found[1:]:
            if partner.prefix == first.prefix:
                chosen.append(partner.key)
                covered = covered | partner.frames
                break
    for rival in found:
        missing = rival.frames - covered
        if missing:
            have, others = (sum(key_sets[names] for names in frames) for frames in (covered, missing))
            raise InputError(
                f"{path}: mixed {label} keys: {have} of {sum(key_sets.values())} frames have "
                f"{' or '.join(chosen)!r}, {others} others only {rival.key!r}; name one with {options_of(label)}, "
                "or rename them"
            )
    return tuple(chosen)


def _same_calculation(
    label: Label, chosen: dict[Label, tuple[str, ...]], found: dict[Label, list[_Candidate]], path: str
) -> None:
    """Refuse to mix labels of two calculations when the file allows labels of one."""
    prefixes: dict[Label, str] = {}
    for one in ("energy", label):
        match = [candidate.prefix for candidate in found[one] if candidate.key in chosen[one]]
        if not match:
            return  # no such label, or a name of the user's own: nothing to compare
        prefixes[one] = match[0]
    if prefixes["energy"] == prefixes[label]:
        return
    matching = [c for c in found["energy"] if c.prefix == prefixes[label]]
    matching += [c for c in found[label] if c.prefix == prefixes["energy"]]
    if matching:
        raise InputError(
            f"{path}: the energy would come from {chosen['energy'][0]!r}, {label} from {chosen[label][0]!r}, "
            f"though there is {matching[0].key!r}; name both: {options_of('energy', label)}"
        )


def _unknown_key(label: Label, named: str, known: set[str], path: str) -> str:
    there = ", ".join(sorted(known)) or "none"
    near = difflib.get_close_matches(named, sorted(known), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{path}: no frame has the key {named!r} given for the {label}; {hint}keys in the file: {there}"
