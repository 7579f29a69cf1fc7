"""Named parts of a store: lists of structures' numbers, kept in its folder ``splits``, addressed ``STORE:NAME``."""

import json
from collections.abc import Mapping, Sequence
from math import gcd
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from equinet.data.columns import Subset
from equinet.data.splits import isolated_indices
from equinet.data.store.store import Store
from equinet.errors import InputError
from equinet.files import replacing

By = Literal["random", "group", "composition", "dataset"]

FOLDER = "splits"


def divide(
    store: Store, fractions: Sequence[float], by: By = "random", seed: int = 0, group_key: str = "group"
) -> list[NDArray[np.int64]]:
    """Divide the structures of a store into parts.

    At random, structures are drawn one by one. Otherwise those that belong together stay together, so that no part
    has near-twins of another's: those with one value of an info key (group), of one composition (whatever the number
    of formula units), or of one data set; the largest are placed first, each where most is missing. Isolated atoms go
    to the first part.

    Args:
        store: to be divided.
        fractions: of the structures for each part; what they leave to 1 is in no part.
        by: what stays together.
        seed: of the draw.
        group_key: the info key of "group".

    Returns:
        For each part its structures, ascending. They do not overlap.

    Raises:
        InputError: fractions that cannot be; too few structures or groups; a structure of no group.
    """
    total = sum(fractions)
    if not fractions or not all(fraction > 0 for fraction in fractions) or not total <= 1 + 1e-9:
        raise InputError(f"the fractions {' '.join(map(str, fractions))} must be positive and add up to at most 1")
    isolated, candidates = isolated_indices(store)
    generator = np.random.default_rng(seed)
    if by == "random":
        order = candidates[generator.permutation(len(candidates))]
        ends = np.round(np.cumsum(fractions) * len(order)).astype(int)
        parts = np.split(order[: ends[-1]], ends[:-1])
    else:
        groups = _groups(store, by, group_key)[candidates]
        sizes = np.bincount(groups)
        wanted = [*fractions, 1 - total] if total < 1 - 1e-9 else list(fractions)
        missing = np.array(wanted) * len(candidates)
        part_of_group = np.zeros(len(sizes), dtype=int)
        shuffled = generator.permutation(len(sizes))
        for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
            part_of_group[group] = missing.argmax()
            missing[part_of_group[group]] -= sizes[group]
        parts = [candidates[part_of_group[groups] == part] for part in range(len(fractions))]
    for number, part in enumerate(parts):
        if not len(part):
            what = "structures" if by == "random" else f"kinds of {by}"
            raise InputError(f"{store.path}: part {number + 1} of the split is empty: too few {what} to divide")
    parts[0] = np.concatenate([isolated, parts[0]])
    return [np.sort(part) for part in parts]


def _groups(store: Store, by: By, group_key: str) -> NDArray[np.int64]:
    """A number for each structure, equal for those that stay together."""
    values: list[Any]
    if by == "dataset":
        values = list(store.columns.dataset)
    elif by == "composition":
        _, first, inverse = np.unique(store.compositions(), return_index=True, return_inverse=True)
        reduced = [_reduced_formula(store[int(i)].numbers) for i in first]
        values = [reduced[i] for i in inverse]
    else:
        values = store.info_values(group_key)
        isolated = store.columns.is_isolated_atom
        for index, value in enumerate(values):
            if value is None and not isolated[index]:
                raise InputError(f"{store[index].source}: its info has no {group_key!r} to split by; give --group-key")
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(str(value), len(numbers)) for value in values], dtype=np.int64)


def _reduced_formula(numbers: NDArray[np.int64]) -> str:
    elements, counts = np.unique(numbers, return_counts=True)
    divisor = gcd(*counts.tolist())
    return " ".join(f"{z}x{count // divisor}" for z, count in zip(elements, counts, strict=True))


def write_split(store: Store, name: str, indices: NDArray[np.int64], how: Mapping[str, Any]) -> Path:
    """Keep a part of a store under a name.

    Args:
        store: that it is a part of.
        name: letters, digits, "-", "_" and ".".
        indices: its structures.
        how: it was made, kept beside the numbers.

    Raises:
        InputError: a name that cannot be; another part has it.
    """
    path = _path(store.path, name)
    if path.is_file():
        if np.array_equal(np.load(path)["indices"], indices) and _facts(path)["fingerprint"] == store.fingerprint:
            return path
        raise InputError(f"{path}: another split has this name; choose other --names, or remove the file")
    path.parent.mkdir(exist_ok=True)
    facts = {"fingerprint": store.fingerprint, "structures": len(store), **how}
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, indices=indices, facts=np.array(json.dumps(facts)))
    return path


def open_split(path: Path, name: str) -> Subset:
    """A named part of a store.

    Raises:
        InputError: as :class:`Store`; no such part, or of another state of the store.
    """
    store = Store(path)
    file = _path(path, name)
    if not file.is_file():
        there = ", ".join(names_of_splits(path)) or "none yet; 'equinet data split' makes them"
        raise InputError(f"{path}: has no split {name!r}; there are: {there}")
    facts = _facts(file)
    if facts["fingerprint"] != store.fingerprint:
        raise InputError(
            f"{path}: the split {name!r} was made when the store held {facts['structures']} structures, other than "
            f"now; remove {file} and split again"
        )
    return Subset(store, np.load(file)["indices"])


def names_of_splits(path: Path) -> list[str]:
    """Names of the parts that a store has."""
    return sorted(file.stem for file in (path / FOLDER).glob("*.npz") if not file.name.startswith("."))


def _path(store: Path, name: str) -> Path:
    if not name or not all(letter.isalnum() or letter in "-_." for letter in name) or name.startswith("."):
        raise InputError(f"{name!r} cannot be the name of a split; use letters, digits, '-' and '_'")
    return store / FOLDER / f"{name}.npz"


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(str(np.load(path)["facts"]))
        return facts
    except (ValueError, KeyError, OSError) as error:
        raise InputError(f"{path}: damaged ({error}); remove it and split again") from error
