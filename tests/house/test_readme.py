"""The README tells the truth: its Python runs, its commands run (made short), what it links to exists."""

import re
import shlex
from pathlib import Path

import pytest

from equinet.cli.main import VERBS, main

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()

SHORTER = {
    "train": ["--trainer.max_epochs", "1"],
    "md": ["--steps", "3"],
    "relax": ["--fmax", "1e6"],
    "bench": ["--atoms", "8", "--seconds", "0.01"],
}
"""Added to a command of the README so that it takes a second."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Lines of the shell blocks, without comments; a line ending in a backslash goes on in the next."""
    joined = "\n".join(blocks("(?:bash|console)")).replace("\\\n", " ")
    parts = (part for line in joined.splitlines() for part in line.split("&&"))
    stripped = (re.sub(r"(^|\s)#.*", "", part).removeprefix("$ ").strip() for part in parts)
    return [command for command in stripped if command]


EQUINET = [command for command in commands() if command.startswith("equinet ")]
OTHERS = [command for command in commands() if not command.startswith("equinet ")]


def test_blocks_are_found():
    assert len(blocks("python")) >= 1
    assert {"train", "test", "md"} <= {command.split()[1] for command in EQUINET}


@pytest.mark.parametrize("block", blocks("python"))
def test_python_block_runs(block, quickstart_folder, capsys):
    if "torch_sim" in block:
        pytest.importorskip("torch_sim", reason="torch-sim is not installed (the extra 'torchsim')")
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("command", EQUINET)
def test_equinet_command_runs(command, quickstart_folder, request):
    verb, *arguments = shlex.split(command)[1:]
    if verb == "lammps" or "aoti" in arguments:
        pytest.skip("it compiles for a minute; tests/deploy does")
    if "--check" in arguments:
        made = ["runs/mine/model.safetensors", "--to", "torchscript", "-o", arguments[-1]]
        assert main(["export", *made]) == 0
    if verb == "import":
        wheel = request.getfixturevalue("sevenn_wheel")
        (quickstart_folder / wheel.name).symlink_to(wheel)
    assert main([verb, *arguments, *SHORTER.get(verb, [])]) == 0


@pytest.mark.parametrize("command", OTHERS)
def test_other_command_names_things_that_exist(command):
    words = shlex.split(command)
    if words[0] == "bash":
        assert (ROOT / words[1]).is_file()
    else:
        assert words[0] in {"git", "cd", "pip", "cmake", "mpiexec", "build/energy"}
    if "-S" in words:
        assert (ROOT / words[words.index("-S") + 1] / "CMakeLists.txt").is_file()
    if "-c" in words:
        assert (ROOT / words[words.index("-c") + 1]).is_file()


def test_links_and_named_folders_exist():
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert "configs/quickstart.yaml" in links
    named = re.findall(r"`((?:tests|configs|scripts|equinet|benchmarks)/[\w./]+)`", README)
    assert "tests/graph" in named
    missing = [path for path in links + named if not (ROOT / path).exists()]
    assert missing == []


def test_every_verb_is_named_and_helps_with_an_example(capsys):
    for verb in VERBS:
        assert re.search(rf"`(equinet )?{verb}`|equinet {verb}", README), verb
        with pytest.raises(SystemExit) as leaving:
            main([verb, "--help"])
        assert leaving.value.code == 0
        assert f"equinet {verb}" in capsys.readouterr().out


def test_reading_order_is_the_stated_one():
    order = re.findall(r"^\d\. \[([\w/.]+)\]", README, flags=re.MULTILINE)
    assert order == [
        "configs/quickstart.yaml",
        "equinet/graph/atomic_graph.py",
        "equinet/models/nequip.py",
        "equinet/models/potential.py",
        "equinet/training/module.py",
    ]
