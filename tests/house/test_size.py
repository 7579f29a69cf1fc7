"""The size check fails and warns where it says it does."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def check_size(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "check_size.py"), str(root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "equinet").mkdir()
    for name, lines in {"a.py": 10, "b.py": 20, "c.py": 60}.items():
        (tmp_path / "equinet" / name).write_text("x = 1\n" * lines)
    return tmp_path


def test_this_repository_passes():
    result = check_size(ROOT)
    assert result.returncode == 0, result.stdout
    assert "equinet" in result.stdout


def test_table_gives_the_median_and_the_longest(tree):
    result = check_size(tree)
    assert result.returncode == 0
    assert result.stdout.splitlines()[1].split() == ["equinet", "3", "90", "20", "c.py", "(60)"]


def test_long_file_warns_and_too_long_file_fails(tree):
    (tree / "equinet" / "long.py").write_text("x = 1\n" * 700)
    result = check_size(tree)
    assert result.returncode == 0
    assert "warning: equinet/long.py has 700 lines" in result.stdout

    (tree / "equinet" / "long.py").write_text("x = 1\n" * 701)
    result = check_size(tree)
    assert result.returncode == 1
    assert "FAILED: equinet/long.py has 701 lines" in result.stdout


def test_empty_tree_is_no_success(tmp_path):
    assert check_size(tmp_path).returncode == 1
