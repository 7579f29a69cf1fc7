"""The manifest of a store: which shards belong to it, their checksums, and where the structures came from."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from equinet.data.formats import FormatOptions
from equinet.data.keys import LabelKeys
from equinet.data.labels import Tally
from equinet.data.store.schema import FORMAT_VERSION, UNITS
from equinet.errors import InputError
from equinet.files import replacing

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ShardEntry:
    """One shard: a file that never changes once it is listed."""

    file: str
    structures: int
    atoms: int
    bytes: int
    sha256: str
    first_file: int  # of the input files it has structures of
    last_file: int
    elements: dict[str, int]  # structures that have the element
    with_energy: int
    with_forces: int
    with_stress: int  # virials of structures periodic in three directions
    with_virial: int


@dataclass(frozen=True)
class InputEntry:
    """One file that structures were read from."""

    path: str
    sha256: str
    bytes: int
    modified_ns: int  # of the file, since 1970
    format: str
    units: str  # of the file
    dataset: str
    level_of_theory: str | None
    keys: LabelKeys  # as the user named them
    options: FormatOptions
    tally: Tally  # of the frames that are in whole shards
    complete: bool
    keys_used: LabelKeys | None = None  # once complete

    def same_reading(self, other: "InputEntry") -> bool:
        """Whether another run would read the same structures from the same content."""
        mine, theirs = (
            (e.sha256, e.format, e.units, e.dataset, e.level_of_theory, e.keys, e.options) for e in (self, other)
        )
        return mine == theirs


@dataclass(frozen=True)
class Manifest:
    """What a store holds."""

    equinet_version: str  # that made it
    complete: bool  # False while a build is under way, or was interrupted
    shards: tuple[ShardEntry, ...] = ()
    inputs: tuple[InputEntry, ...] = ()
    units: Mapping[str, str] = field(default_factory=lambda: dict(UNITS))

    @property
    def structures(self) -> int:
        """Number of structures."""
        return sum(shard.structures for shard in self.shards)

    @property
    def atoms(self) -> int:
        """Number of atoms."""
        return sum(shard.atoms for shard in self.shards)

    @property
    def elements(self) -> dict[str, int]:
        """Structures that have each element, the most frequent first."""
        total: Counter[str] = Counter()
        for shard in self.shards:
            total.update(shard.elements)
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the shards' checksums: two stores with the same one hold the same structures in one order."""
        text = "\n".join([str(FORMAT_VERSION), *(shard.sha256 for shard in self.shards)])
        return hashlib.sha256(text.encode()).hexdigest()

    def summary(self) -> dict[str, Any]:
        """Counts, for people who read the file; computed, never read back."""
        labels = ("with_energy", "with_forces", "with_stress", "with_virial")
        return {
            "structures": self.structures,
            "atoms": self.atoms,
            "bytes": sum(shard.bytes for shard in self.shards),
            **{name: sum(getattr(shard, name) for shard in self.shards) for name in labels},
            "elements": self.elements,
            "fingerprint": self.fingerprint,
        }

    def without_files(self, first: int) -> "Manifest":
        """The manifest without input file number ``first`` and those after it, and their shards."""
        shards = tuple(shard for shard in self.shards if shard.last_file < first)
        return replace(self, shards=shards, inputs=self.inputs[:first])

    def write(self, store: Path) -> None:
        """Replace the manifest of a store: after a crash it is the old one or this one."""
        plain = {
            "format": "equinet store",
            "format_version": FORMAT_VERSION,
            "equinet_version": self.equinet_version,
            "complete": self.complete,
            "units": dict(self.units),
            "summary": self.summary(),
            "inputs": [_plain(entry) for entry in self.inputs],
            "shards": [asdict(shard) for shard in self.shards],
        }
        with replacing(store / MANIFEST) as partial:
            partial.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def read_manifest(store: Path) -> Manifest:
    """Read the manifest of a store, finished or not.

    Raises:
        InputError: no store, half a store, another version of the format, or a manifest that is damaged.
    """
    path = store / MANIFEST
    if not store.is_dir():
        raise InputError(f"{store}: no such store; 'equinet data build FILES... -o {store}' makes one")
    if not path.is_file():
        if any(store.glob("*shard-*")):
            raise InputError(
                f"{store}: shards without {MANIFEST}: the store was not finished; build it again, "
                "in another folder or once this one is removed"
            )
        raise InputError(f"{store}: a folder without {MANIFEST} is no store; give one that 'equinet data build' made")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        kind, version = plain["format"], plain["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged, or not of a store ({type(error).__name__}: {error})") from error
    if kind != "equinet store":
        raise InputError(f"{path}: of another program ({kind!r}), not of a store")
    if version != FORMAT_VERSION:
        raise InputError(
            f"{store}: format version {version}, but this equinet reads version {FORMAT_VERSION}; "
            "build the store again, or use the equinet that made it"
        )
    try:
        return Manifest(
            equinet_version=plain["equinet_version"],
            complete=plain["complete"],
            shards=tuple(ShardEntry(**entry) for entry in plain["shards"]),
            inputs=tuple(_input_entry(entry) for entry in plain["inputs"]),
            units=plain["units"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}: {error}); build the store again") from error


def _plain(entry: InputEntry) -> dict[str, Any]:
    return asdict(replace(entry, tally=Tally())) | {"tally": entry.tally.to_dict()}


def _input_entry(plain: dict[str, Any]) -> InputEntry:
    options = {**plain["options"], "elements": tuple(plain["options"]["elements"])}
    return InputEntry(
        **{
            **plain,
            "keys": LabelKeys(**plain["keys"]),
            "options": FormatOptions(**options),
            "tally": Tally.from_dict(plain["tally"]),
            "keys_used": LabelKeys(**plain["keys_used"]) if plain["keys_used"] else None,
        }
    )
