"""A store: any number of labelled structures on disk, read one by one; what memory holds does not grow with it.

A folder of Apache Arrow IPC files, ``shard-000000.arrow`` and so on, and ``manifest.json``. Why Arrow: shards are
memory-mapped and never change once written, so that checksums stay true, many processes read without locks (also on
network file systems), and adding structures adds files; each describes itself, units included, and pandas, polars and
DuckDB read it without equinet. LMDB would need an encoding of our own, and changes its one file in place.

``schema`` is what a shard holds, ``shard`` and ``writer`` read and write one, ``manifest`` lists them, ``build`` makes
a store of files, ``store`` reads one; ``check`` looks for damage and odd structures, ``splits`` divides one.
"""

from equinet.data.store.build import Built as Built
from equinet.data.store.build import Provenance as Provenance
from equinet.data.store.build import build_store as build_store
from equinet.data.store.manifest import Manifest as Manifest
from equinet.data.store.manifest import read_manifest as read_manifest
from equinet.data.store.store import Store as Store
from equinet.data.store.writer import Limits as Limits
