"""Prints how long the source files are; fails above 700 lines in one file, warns above 450.

    python scripts/check_size.py

The habit behind it: a file is one concept and is read in one go. The median should stay under 200 lines.
"""

import statistics
import sys
from pathlib import Path

FOLDERS = ("equinet", "kernels", "scripts", "benchmarks", "tests")
SUFFIXES = {".py", ".sh", ".cpp", ".cu", ".cuh", ".h"}
WARN_LINES = 450
FAIL_LINES = 700


def count_lines(root: Path) -> dict[Path, int]:
    """Lines of every source file in the known folders of `root`, keyed by path relative to it."""
    files = (path for folder in FOLDERS for path in (root / folder).rglob("*") if path.suffix in SUFFIXES)
    return {path.relative_to(root): len(path.read_bytes().splitlines()) for path in sorted(files)}


def table(lines: dict[Path, int]) -> str:
    """One row per folder: how many files, lines together, median, and the longest file."""
    rows = [f"{'folder':<12}{'files':>6}{'lines':>8}{'median':>8}  longest"]
    for folder in FOLDERS:
        inside = {path: count for path, count in lines.items() if path.parts[0] == folder}
        if inside:
            longest = max(inside, key=lambda path: inside[path])
            median = statistics.median(inside.values())
            rows.append(
                f"{folder:<12}{len(inside):>6}{sum(inside.values()):>8}{median:>8.0f}"
                f"  {longest.relative_to(folder)} ({inside[longest]})"
            )
    rows.append(f"{'all':<12}{len(lines):>6}{sum(lines.values()):>8}{statistics.median(lines.values()):>8.0f}")
    return "\n".join(rows)


def main(root: Path) -> int:
    """Prints the table and every file over a limit; returns the exit status."""
    lines = count_lines(root)
    if not lines:
        print(f"check: size: no source files under {root}", file=sys.stderr)
        return 1
    print(table(lines))
    for path, count in lines.items():
        if WARN_LINES < count <= FAIL_LINES:
            print(f"check: size: warning: {path} has {count} lines; over {WARN_LINES}: worth a split?")
    too_long = {path: count for path, count in lines.items() if count > FAIL_LINES}
    for path, count in too_long.items():
        print(f"check: size: FAILED: {path} has {count} lines, more than {FAIL_LINES}; split it by concept")
    if not too_long:
        print("check: size: ok")
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]))
