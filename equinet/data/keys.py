"""Which key of a file holds which label: named by the user, or found by the rules written here.

Without a name, labels are looked for among the calculator results (``energy``, ``forces``, ``stress``, ...)
and then under the common names ``PREFIX + NAME`` of the tables below, upper or lower case. The first that
occurs is used.
"""

import difflib
from collections.abc import Sequence
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


@dataclass(frozen=True)
class _Candidate:
    key: str  # as the file spells it
    prefix: str
    frames: frozenset[int]


def choose_keys(frames: Sequence[Atoms], keys: LabelKeys, path: str) -> dict[Label, tuple[str, ...]]:
    """Decide which key(s) each label is read from.

    Args:
        frames: the structures of one file.
        keys: what the user named.
        path: the file, for messages.

    Returns:
        For each label its key, () for none. Only the energy may have two: ("free_energy", "energy") means the
        first where a frame has it, else the second.

    Raises:
        InputError: a named key no frame has; some frames under one key and others under another; labels that
            would come from different calculations.
    """
    names = [keys_of(atoms) for atoms in frames]
    known = set().union(*names)
    chosen: dict[Label, tuple[str, ...]] = {}
    found: dict[Label, list[_Candidate]] = {}
    for label in LABELS:
        named = getattr(keys, label)
        found[label] = _candidates(label, names)
        if named is None:
            chosen[label] = _automatic(label, found[label], len(frames), path)
        elif named == NONE:
            chosen[label] = ()
        elif named in known:
            chosen[label] = (named,)
        else:
            raise InputError(_unknown_key(label, named, known, path))
    for label in LABELS[1:]:
        if keys.energy is None or getattr(keys, label) is None:
            _same_calculation(label, chosen, found, path)
    return chosen


def other_candidates(label: Label, frames: Sequence[Atoms], chosen: tuple[str, ...]) -> list[str]:
    """Return the keys that could have been the label too but were not chosen."""
    candidates = _candidates(label, [keys_of(atoms) for atoms in frames])
    return [candidate.key for candidate in candidates if candidate.key not in chosen]


def option(label: Label) -> str:
    """Return how a user names the key of a label."""
    assert label in {field.name for field in fields(LabelKeys)}
    return f"data.keys.{label}"


def _candidates(label: Label, names: Sequence[set[str]]) -> list[_Candidate]:
    spellings = sorted(set().union(*names))
    found = []
    for prefix in PREFIXES:
        for stem in NAMES[label]:
            for key in spellings:
                if key.lower() == prefix + stem:
                    where = frozenset(i for i, frame in enumerate(names) if key in frame)
                    found.append(_Candidate(key, prefix, where))
    return found


def _automatic(label: Label, found: list[_Candidate], total: int, path: str) -> tuple[str, ...]:
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
            raise InputError(
                f"{path}: mixed {label} keys: {len(covered)} of {total} frames have {' or '.join(chosen)!r}, "
                f"{len(missing)} others only {rival.key!r}; name one with {option(label)}, or rename them"
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
            f"though there is {matching[0].key!r}; name both: {option('energy')}, {option(label)}"
        )


def _unknown_key(label: Label, named: str, known: set[str], path: str) -> str:
    there = ", ".join(sorted(known)) or "none"
    near = difflib.get_close_matches(named, sorted(known), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{path}: no frame has the key {named!r} given as {option(label)}; {hint}keys in the file: {there}"
