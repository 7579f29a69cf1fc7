"""A store built, or built on: files read frame by frame, whole shards written, a kill survived.

A shard that ends within a file holds structures of that file alone: so a file that turns out to be bad, or has
changed, is taken out again with its shards, and what was read before it stays. The manifest is replaced after each
shard. Killed at any moment, the build loses the shard it was gathering; run again with the same files it goes on after
the last whole one, and ends with the same bytes as if it had never been stopped.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from equinet import __version__
from equinet.data.files import iterate_atoms, units_of
from equinet.data.formats import FormatOptions, detect_format
from equinet.data.keys import LabelKeys
from equinet.data.labels import LabelReader, ReadReport, Tally
from equinet.data.store.manifest import MANIFEST, InputEntry, Manifest, read_manifest
from equinet.data.store.writer import Entry, Limits, make_entry, write_shard
from equinet.errors import InputError
from equinet.files import WriteError, content_sha256, files_of


@dataclass(frozen=True)
class Provenance:
    """What files do not say of themselves.

    Attributes:
        dataset: name of the data set; None takes "FOLDER/FILE" of each file, without suffix.
        level_of_theory: such as "PBE, PAW, 520 eV".
    """

    dataset: str | None = None
    level_of_theory: str | None = None


@dataclass(frozen=True)
class Built:
    """What a build did with one file."""

    path: str
    format: str
    units: str
    report: ReadReport | None  # None where the store had the file already


def build_store(
    files: Sequence[str | Path],
    path: str | Path,
    keys: LabelKeys | None = None,
    options: FormatOptions | None = None,
    provenance: Provenance | None = None,
    limits: Limits | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> list[Built]:
    """Build a store of labelled structures, or add to one.

    Files whose content the store has are passed over. Files are read once, in order, one frame at a time.

    Args:
        files: anything :func:`equinet.data.files.iterate_atoms` reads; folders are searched for DeePMD-kit
            systems, and for .aselmdb files where there are none.
        path: the store: a folder to be made, or an existing store.
        keys: names of the keys that hold the labels, in all files; None finds them in each.
        options: what files of some formats leave open.
        provenance: kept in the manifest.
        limits: when a shard is full.
        done: told the number of structures that the store has so far.

    Returns:
        For each file how it was read.

    Raises:
        InputError: a file that cannot be read, or whose labels clash: what was read before it stays in the store;
            a file that has changed since the store took it;
            a store that another process builds; a folder that is no store; a file whose reading was interrupted is
            not among the files.
    """
    store = Path(path)
    sources = [source for file in files for source in _sources(Path(file))]
    options, provenance = options or FormatOptions(), provenance or Provenance()
    _make_folder(store)
    try:
        with _locked(store):
            manifest = _begin(store)
            entries = [_input_entry(source, keys or LabelKeys(), options, provenance, manifest) for source in sources]
            build = _Build(store, limits or Limits(), done, manifest)
            build.refuse_to_leave_unfinished(entries)
            build.refuse_changed(entries)
            built = [build.add(entry, source) for entry, source in zip(entries, sources, strict=True)]
            build.finish()
            return built
    except (OSError, WriteError) as error:  # what cannot be read is an InputError already
        cause = error.__cause__ or error
        raise InputError(
            f"{store}: cannot be written ({cause}); make room, and run the same build again: it goes on where it "
            "stopped"
        ) from error
    finally:
        if not (store / MANIFEST).is_file() and not any(store.iterdir()):
            store.rmdir()


class _Build:
    """The state of a build between two structures: the manifest on disk, and structures that wait for a shard."""

    def __init__(self, store: Path, limits: Limits, done: Callable[[int], None], manifest: Manifest) -> None:
        self.store, self.limits, self.done = store, limits, done
        self.manifest = manifest
        self.waiting: list[Entry] = []
        self.waiting_bytes = 0
        self.inputs = list(manifest.inputs)  # those of the manifest, and after them those read since

    def refuse_to_leave_unfinished(self, entries: Sequence[InputEntry]) -> None:
        """A build that was interrupted is finished before anything else."""
        for known in self.inputs:
            if not known.complete and not any(e.path == known.path or e.sha256 == known.sha256 for e in entries):
                raise InputError(
                    f"{self.store}: {known.path} was not read to its end; give the files of that build again"
                )

    def refuse_changed(self, entries: Sequence[InputEntry]) -> None:
        """A file that has changed since it was read would be in the store twice, as it was and as it is."""
        for entry in entries:
            for known in self.inputs:
                # a path as it was given: the same one from another folder is of another data set
                same = (known.path, known.dataset) == (entry.path, entry.dataset)
                if known.complete and same and known.sha256 != entry.sha256:
                    raise InputError(
                        f"{self.store}: has {known.tally.frames} frames of {entry.path} as it was, before it changed "
                        "(its SHA-256 differs); build a new store of all files, or, where both are wanted, give this "
                        "one another name"
                    )

    def add(self, entry: InputEntry, source: Path) -> Built:
        """Read one file."""
        if any(known.complete and known.sha256 == entry.sha256 for known in self.inputs):
            return Built(entry.path, entry.format, entry.units, None)
        number = next((i for i, known in enumerate(self.inputs) if not known.complete), len(self.inputs))
        tally = Tally()
        if number < len(self.inputs):
            if self.inputs[number].same_reading(entry):
                tally = Tally.from_dict(self.inputs[number].tally.to_dict())
            else:  # the file, or how it is to be read, has changed: it starts again
                self._take_out(number)
        self.inputs[number:] = [entry]
        reader = LabelReader(entry.path, entry.keys, tally, units_of(source, entry.options))
        try:
            for frame, atoms in iterate_atoms(source, entry.options, tally.frames):
                reader.observe(atoms)
                record = reader.read(atoms, f"{entry.path} frame {frame}")
                if record is not None:
                    self._take(make_entry(record, number, frame), reader.tally)
            report = reader.finish()
        except InputError:
            self._take_out(number)
            self.finish()
            raise
        self.inputs[number] = replace(entry, tally=reader.tally, complete=True, keys_used=report.keys)
        return Built(entry.path, entry.format, entry.units, report)

    def finish(self) -> None:
        """Write what waits, and declare the store whole."""
        if self.waiting:
            self._write(len(self.waiting))
        self.manifest = replace(self.manifest, inputs=tuple(self.inputs), complete=True)
        if self.manifest.shards:
            self.manifest.write(self.store)
        else:  # nothing was readable: no store
            (self.store / MANIFEST).unlink(missing_ok=True)

    def _take(self, entry: Entry, tally: Tally) -> None:
        self.waiting.append(entry)
        self.waiting_bytes += entry.bytes
        self.done(self.manifest.structures + len(self.waiting))
        while self._full():
            whole = sum(waiting.file < entry.file for waiting in self.waiting)
            if not whole:
                self.inputs[entry.file] = replace(self.inputs[entry.file], tally=Tally.from_dict(tally.to_dict()))
            self._write(whole or len(self.waiting))  # files before this one end with a shard of their own

    def _full(self) -> bool:
        return len(self.waiting) >= self.limits.structures or self.waiting_bytes >= self.limits.bytes

    def _write(self, count: int) -> None:
        """Write the first structures that wait as a shard, then the manifest that lists it."""
        shard = write_shard(self.store / f"shard-{len(self.manifest.shards):06d}.arrow", self.waiting[:count])
        self.waiting = self.waiting[count:]
        self.waiting_bytes = sum(entry.bytes for entry in self.waiting)
        inputs = tuple(self.inputs[: shard.last_file + 1])
        self.manifest = replace(self.manifest, shards=(*self.manifest.shards, shard), inputs=inputs, complete=False)
        self.manifest.write(self.store)

    def _take_out(self, number: int) -> None:
        """Forget input file ``number``: its structures that wait, and its shards."""
        self.waiting = [entry for entry in self.waiting if entry.file < number]
        self.waiting_bytes = sum(entry.bytes for entry in self.waiting)
        self.inputs = self.inputs[:number]
        before = self.manifest.shards
        self.manifest = self.manifest.without_files(number)
        if len(self.manifest.shards) < len(before):
            replace(self.manifest, complete=False).write(self.store)
            for shard in before[len(self.manifest.shards) :]:
                (self.store / shard.file).unlink(missing_ok=True)


def _sources(path: Path) -> list[Path]:
    """The files that a name stands for; of a folder, the DeePMD-kit systems or LMDB databases in it.

    Raises:
        InputError: nothing of that name, or a folder without any.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if not path.is_dir():
        return [path]
    found = [file.parent for file in path.rglob("type.raw")] or list(path.rglob("*.aselmdb"))
    if not found:
        raise InputError(f"{path}: a folder without DeePMD-kit systems (type.raw) or .aselmdb files; give files")
    return sorted(found)


def _input_entry(
    source: Path, keys: LabelKeys, options: FormatOptions, provenance: Provenance, manifest: Manifest
) -> InputEntry:
    size, modified = _size_and_time(source)
    name = str(source)
    known = next(
        (e for e in manifest.inputs if (e.path, e.bytes, e.modified_ns) == (name, size, modified)), None
    )  # not hashed anew: a build that goes on after a kill need not read 50 GB for that
    kind = detect_format(source, options)
    return InputEntry(
        path=name,
        sha256=known.sha256 if known else content_sha256(source),
        bytes=size,
        modified_ns=modified,
        format=kind.name,
        units=kind.units,
        dataset=provenance.dataset or f"{source.resolve().parent.name}/{source.name.split('.')[0]}",
        level_of_theory=provenance.level_of_theory,
        keys=keys,
        options=options,
        tally=Tally(),
        complete=False,
    )


def _size_and_time(source: Path) -> tuple[int, int]:
    states = [file.stat() for file in files_of(source)]
    return sum(state.st_size for state in states), max(state.st_mtime_ns for state in states)


def _make_folder(store: Path) -> None:
    if store.exists() and not store.is_dir():
        raise InputError(f"{store}: a file of this name is there; give the name of a folder to be made")
    if store.exists() and not (store / MANIFEST).is_file():
        foreign = sorted(
            file.name for file in store.iterdir() if "shard-" not in file.name and MANIFEST not in file.name
        )
        if foreign:
            raise InputError(
                f"{store}: the folder holds {foreign[0]!r} and is no store; remove it, or give a folder to be made"
            )
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{store}: cannot be made ({error.strerror}); choose another place") from error


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    """Only one process builds a store at a time; where the file system knows no locks, the user sees to that."""
    folder = os.open(store, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{store}: another process is building this store; wait for it to end") from None
        except OSError:
            pass
        yield
    finally:
        os.close(folder)


def _begin(store: Path) -> Manifest:
    """The manifest to go on from; files that a killed build left without listing them are removed."""
    manifest = Manifest(__version__, complete=False)
    if (store / MANIFEST).is_file():
        manifest = read_manifest(store)
    listed = {shard.file for shard in manifest.shards}
    for file in [*store.glob("*shard-*"), *store.glob(f".{MANIFEST}.*.partial")]:
        if file.name not in listed:
            file.unlink()
    for shard in manifest.shards:
        file = store / shard.file
        if not file.is_file() or file.stat().st_size != shard.bytes:
            raise InputError(f"{file}: missing, or not as it was written; restore it, or remove the store and build it")
    return manifest
