"""What work takes of a device's memory, and how much there is: measured, so that sizes of batches are not guessed.

On a GPU, what torch's allocator holds counts, not what it has handed out: what lies between is fragments, and must fit
too. On a CPU it is the resident set of the process, whose highest mark Linux resets on request.
"""

import ctypes
import gc
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from equinet.errors import InputError

PATIENCE = 10.0
"""Seconds that a piece of work may take for one twice as large to be tried."""
SHARE_TRIED = 0.4
"""Of the memory allowed: where a piece of work took more, none twice as large is tried, since that might not fit. Not
less, because memory grows a little faster than the work: the larger the pieces, the more fragments."""
FITTED = 3
"""The line is drawn through so many of the largest pieces: small ones take what large ones do not."""
SLACK = 32 * 10**6
"""Bytes by which the same work may take more the next time: allocators ask for memory in large pieces."""

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Growth:
    """Bytes that work takes at most: a straight line over its size, above all that was measured.

    Attributes:
        fixed: bytes, whatever the size.
        each: bytes for each unit of size.
        failed: a size for which memory ran out; None where none was met.
    """

    fixed: float
    each: float
    failed: int | None = None

    def at(self, size: int) -> float:
        """Bytes for a size."""
        return self.fixed + self.each * size

    def largest(self, limit: float) -> int:
        """The largest size within a limit of bytes; 0 where not even the smallest fits."""
        size = max(0, int((limit - self.fixed) / self.each))
        return size if self.failed is None else min(size, self.failed - 1)


def growth(points: Sequence[tuple[int, int]], failed: int | None = None) -> Growth:
    """A bound on what was measured: the steepest of the fitted line and of those from the last point to others.

    Args:
        points: (size, bytes), two at least, sizes ascending.
        failed: a size for which memory ran out.
    """
    used = points[-FITTED:]
    sizes, peaks = (np.array(values, dtype=np.float64) for values in zip(*used, strict=True))
    to_last = (peaks[-1] - peaks[:-1]) / (sizes[-1] - sizes[:-1])
    each = max(1.0, float(np.polyfit(sizes, peaks, 1)[0]), float(to_last.max()))
    return Growth(max(0.0, float((peaks - each * sizes).max())), each, failed)


def measured(
    device: torch.device, work: Callable[[int], Callable[[], object]], start: int, stop: int, limit: float
) -> Growth:
    """Do work of growing size, and say how memory grows with it.

    Sizes double from ``start`` until ``stop``, or until much of what is allowed was used, or until work takes long.

    Args:
        device: on which.
        work: prepares work of a size, and gives the function that does it.
        start: the smallest size.
        stop: the largest size of interest.
        limit: bytes that are allowed.

    Raises:
        InputError: the system does not say what memory a process takes.
    """
    points: list[tuple[int, int]] = []
    failed = None
    size = min(start, stop)
    try:
        work(size)()  # kernels are loaded and compiled, libraries take their workspace
        before = held(device)
        while failed is None:
            clock = _Clock(work(size))
            points.append((size, peak(device, clock)))
            used = points[-1][1] - before
            if size >= stop or used > SHARE_TRIED * (limit - before) or clock.seconds > PATIENCE:
                break
            size = min(2 * size, stop)
    except torch.OutOfMemoryError:  # of a GPU alone: Linux kills
        failed = size
    _give_back(device)  # what follows finds memory in one piece
    if not points:
        return Growth(0.0, limit / size, failed)
    line = growth(points if len(points) > 1 else [(0, before), *points], failed)
    return replace(line, fixed=line.fixed + SLACK)


class _Clock:
    """Work that knows how long it took."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work, self.seconds = work, 0.0

    def __call__(self) -> None:
        begin = perf_counter()
        self.work()
        self.seconds = perf_counter() - begin


def peak(device: torch.device, work: Callable[[], object]) -> int:
    """Bytes that this process holds at most while work is done, with all it held before.

    Raises:
        InputError: the system does not say.
    """
    _give_back(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_reserved(device)
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        raise InputError(_UNKNOWN) from None
    work()
    return _resident("VmHWM")


def held(device: torch.device) -> int:
    """Bytes that this process holds now.

    Raises:
        InputError: the system does not say.
    """
    _give_back(device)
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    return _resident("VmRSS")


def there(device: torch.device, processes: int = 1) -> int:
    """Bytes that this process may hold: what it holds, and its part of what is free.

    Args:
        device: a GPU that is this process's alone, or the CPU.
        processes: that share the CPU's memory, on this machine.

    Raises:
        InputError: the system does not say.
    """
    own = held(device)
    if device.type == "cuda":
        return own + torch.cuda.mem_get_info(device)[0]
    found = re.search(r"MemAvailable:\s+(\d+) kB", _read(Path("/proc/meminfo")) or "")
    if found is None:
        raise InputError(_UNKNOWN)
    return own + min([1024 * int(found[1]), *left_by_groups()]) // processes


def left_by_groups(own: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Bytes that each control group with a limit leaves to this process, of version 1 and 2.

    Args:
        own: the file that names the groups.
        mounted: where they are; a container sees its own at the top.
    """
    for line in (_read(own) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, limit_file, usage_file, idle = mounted, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, limit_file = mounted / "memory", "memory.limit_in_bytes"
            usage_file, idle = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            limit, usage = _read(folder / limit_file), _read(folder / usage_file)
            if limit and usage and limit.strip().isdecimal():
                cached = re.search(rf"^{idle} (\d+)$", _read(folder / "memory.stat") or "", re.MULTILINE)
                yield max(0, int(limit) - int(usage) + (int(cached[1]) if cached else 0))
            if folder == top:
                break


def say_bytes(count: float) -> str:
    """Bytes as a person reads them."""
    for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {name}"
    return f"{count:.0f} bytes"


_UNKNOWN = (
    "the size of batches cannot be measured here: only Linux says how much memory a process takes "
    '(/proc/self/clear_refs and /proc/self/status); give a number instead of "auto"'
)


def _give_back(device: torch.device) -> None:
    """Let the allocator return what it keeps of freed memory, or its use anew would go unseen."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # GNU's has it
    if trim is not None:
        trim(0)


def _resident(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", _read(_STATUS) or "")
    if found is None:
        raise InputError(_UNKNOWN)
    return 1024 * int(found[1])


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
