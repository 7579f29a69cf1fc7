import json
import subprocess
import sys
import warnings

import pytest

import equinet
from equinet.cli.main import VERBS, main, verb_module
from equinet.errors import DataWarning, InputError

LIGHT = [verb for verb in VERBS if verb != "train"]  # its --help lists the trainer's options

PROBE = """
import contextlib, io, json, sys
from equinet.cli.main import main
texts = {}
for arguments in [["--help"], ["--version"], *[[verb, "--help"] for verb in VERBS]]:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        try:
            main(arguments)
        except SystemExit as leaving:
            assert leaving.code == 0, arguments
    texts[" ".join(arguments)] = text.getvalue()
print(json.dumps({"texts": texts, "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def fresh():
    """All help texts, made in a fresh process."""
    script = f"VERBS = {LIGHT!r}\n{PROBE}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_help_is_quick_because_nothing_heavy_is_imported(fresh):
    heavy = {"torch", "ase", "numpy", "lightning", "e3nn", "matplotlib", "rich", "scipy"}
    assert not heavy & set(fresh["modules"])


def test_help_lists_every_verb_with_what_it_does(fresh):
    text = fresh["texts"]["--help"]
    for verb in VERBS:
        assert f"  {verb} " in text
        assert verb_module(verb).HELP in text
    assert fresh["texts"]["--version"] == f"equinet {equinet.__version__}\n"


@pytest.mark.parametrize("verb", LIGHT)
def test_help_of_a_verb_has_an_example_that_parses(verb, fresh):
    text = fresh["texts"][f"{verb} --help"]
    assert f"usage: equinet {verb} " in text
    example = text.split("example:\n")[1]
    assert example.strip().startswith(f"equinet {verb} ")


def test_no_verb_is_a_usage_error(run):
    code, out, err = run()
    assert code == 2
    assert out == ""
    assert "verbs:" in err


@pytest.mark.parametrize(("wrong", "near"), [("tran", "train"), ("tset", "test"), ("relaxx", "relax")])
def test_unknown_verb_names_the_nearest(run, wrong, near):
    code, out, err = run(wrong, "--help")
    assert (code, out) == (2, "")
    assert err == f"equinet: error: unknown verb {wrong!r}; did you mean {near!r}?\n"


def test_unknown_verb_without_a_near_one_lists_them(run):
    assert "there are train, test" in run("zzz")[2]


@pytest.mark.parametrize(
    "arguments",
    [["--verbose"], ["md"], ["predict", "m", "d"], ["info", "m", "--nonsense"], ["relax", "m", "s", "--fmax", "x"]],
)
def test_usage_errors_exit_with_2(run, arguments):
    code, _, err = run(*arguments)
    assert code == 2
    assert "usage: equinet" in err


class FakeVerb:
    """Stands where a verb's module would."""

    HELP = "fake"

    def __init__(self, action):
        self.action = action

    def main(self, argv):
        return self.action()


def test_errors_and_warnings_are_one_line_each(run, monkeypatch):
    def act():
        warnings.warn("3 frames\nare odd", DataWarning)
        warnings.warn("3 frames\nare odd", DataWarning)
        raise InputError("bad;\n  file.xyz frame 3")

    monkeypatch.setitem(sys.modules, "equinet.cli.info", FakeVerb(act))
    code, _, err = run("info", "x")
    assert code == 1
    assert err.splitlines() == 2 * ["equinet: warning: 3 frames are odd"] + ["equinet: error: bad; file.xyz frame 3"]


def test_interruption(run, monkeypatch):
    def act():
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "equinet.cli.info", FakeVerb(act))
    assert run("info") == (130, "", "equinet: error: interrupted\n")


def test_our_own_mistakes_are_not_hidden(monkeypatch):
    def act():
        raise ZeroDivisionError

    monkeypatch.setitem(sys.modules, "equinet.cli.info", FakeVerb(act))
    with pytest.raises(ZeroDivisionError):
        main(["info"])


def test_as_a_module():
    command = [sys.executable, "-m", "equinet.cli", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unknown verb" in done.stderr
