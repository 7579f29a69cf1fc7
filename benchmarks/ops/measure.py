"""Seconds, free memory and copy bandwidth, on a CPU or a CUDA device."""

import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")
Clock = Callable[[Callable[[], T]], tuple[T, float]]
"""Runs a call and gives its result and seconds."""

MEBIBYTE = 2**20
COPY_BYTES = 256 * MEBIBYTE  # far beyond any cache


def timed(device: torch.device, call: Callable[[], T]) -> tuple[T, float]:
    """Run a call on the device and return its result and the seconds it took."""
    if device.type == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize(device)
        start.record()
        result = call()
        end.record()
        torch.cuda.synchronize(device)
        return result, start.elapsed_time(end) / 1000
    begin = time.perf_counter()
    result = call()
    return result, time.perf_counter() - begin


def free_memory(device: torch.device) -> float:
    """MiB that can be had on the device now."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0] / MEBIBYTE
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    if found is None:
        raise RuntimeError("/proc/meminfo has no MemAvailable: free memory is known on Linux only")
    return int(found[1]) / 1024


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of torch's copy of 256 MiB with the current threads: the median of 15."""
    source = torch.ones(COPY_BYTES // 4, dtype=torch.float32, device=device)
    target = torch.zeros_like(source)
    seconds = [timed(device, lambda: target.copy_(source))[1] for _ in range(17)][2:]
    return 2 * COPY_BYTES / statistics.median(seconds)
