"""``equinet data``: what a user types, sees and gets."""

import json

import ase.io
import numpy as np
import pytest

from equinet.data import Store, open_records, samples
from equinet.data.store import build
from tests.data.store.conftest import mixed_frames

ACTIONS = ("build", "info", "check", "split", "stats")


@pytest.fixture
def silicon(tmp_path, run):
    folder = tmp_path / "STORE"
    command = ("build", samples.path("silicon", "train"), samples.path("silicon", "val"), "-o", folder)
    code, out, err = run("data", *command, "--level-of-theory", "LDA, PySCF", "--dataset", "silicon")
    assert (code, err) == (0, "")
    assert "extended XYZ; energy from energy" in out
    assert "units: eV, Angstrom" in out
    return folder


def test_info_says_what_there_is(run, silicon):
    code, out, _ = run("data", "info", silicon)
    assert code == 0
    store = Store(silicon)
    assert f"structures: {len(store)}\n" in out
    assert f"structures with: Si {len(store)}\n" in out
    assert "data set silicon; level of theory LDA, PySCF" in out
    assert store.fingerprint in out
    assert store.manifest.inputs[0].sha256 in out
    assert "splits: none" in out


def test_check_finds_what_is_there(run, silicon, tmp_path):
    code, out, err = run("data", "check", silicon, "--json", tmp_path / "findings.json")
    assert (code, err) == (0, "")
    assert "checksums: 1 shards as written" in out
    findings = json.loads((tmp_path / "findings.json").read_text())
    assert findings["missing"]["energy"] == 0
    assert findings["structures"] == len(Store(silicon))


def test_check_of_a_damaged_store_names_the_shard(fails, silicon):
    shard = silicon / "shard-000000.arrow"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    assert "wrong checksum of shard-000000.arrow" in fails("data", "check", silicon)


def test_split_and_its_parts(run, fails, silicon, tmp_path):
    code, out, _ = run("data", "split", silicon, "--fractions", "0.7", "0.2", "0.1", "--seed", "3")
    assert code == 0
    total = len(Store(silicon))
    assert f"{silicon}:train: {round(0.7 * total)} structures" in out
    parts = [open_records(f"{silicon}:{name}").indices for name in ("train", "val", "test")]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(total))
    assert "splits: test, train, val" in run("data", "info", silicon)[1]
    assert "another split has this name" in fails("data", "split", silicon, "--seed", "4")
    assert "need as many different --names" in fails(
        "data", "split", silicon, "--fractions", "0.5", "--names", "a", "b"
    )
    assert "in no part" not in out
    half = run("data", "split", silicon, "--fractions", "0.5", "--names", "half")[1]
    assert f"in no part: {total - round(0.5 * total)} structures, for the fractions add up to 0.5" in half
    code, out, _ = run("data", "stats", f"{silicon}:val", "--cutoff", "3")
    assert f"{len(parts[1])} structures" in out


def test_stats_in_text_figure_and_json(run, silicon, tmp_path):
    code, out, _ = run("data", "stats", silicon, "--cutoff", "4", "-o", tmp_path / "figures")
    assert code == 0
    assert "neighbors of an atom, number: mean" in out
    facts = json.loads((tmp_path / "figures" / "stats.json").read_text())
    store = Store(silicon)
    assert facts["neighbors_of_an_atom"]["mean"] == pytest.approx(store.edge_counts(4.0).sum() / store.atoms.sum())
    assert (tmp_path / "figures" / "stats.png").read_bytes().startswith(b"\x89PNG")


def test_units_and_elements_are_asked_for_and_printed(run, fails, tmp_path):
    path = tmp_path / "input.data"
    path.write_text("begin\natom 0 0 0 H 0 0 0 0 0\natom 0 0 2 H 0 0 0 0 0\nenergy -1.0\nend\n")
    out = run("data", "build", path, "-o", tmp_path / "A")[1]
    assert "n2p2; energy from energy (1), forces from forces (1), no virial; units: Hartree, Bohr; converted" in out
    run("data", "build", path, "-o", tmp_path / "B", "--n2p2-units", "metal")
    assert Store(tmp_path / "A")[0].energy == pytest.approx(-27.211386, abs=1e-5)
    assert Store(tmp_path / "B")[0].energy == -1.0
    cfg = tmp_path / "train.cfg"
    cfg.write_text("BEGIN_CFG\nSize\n1\nAtomData: id type cartes_x cartes_y cartes_z\n1 0 0 0 0\nEnergy\n-2\nEND_CFG\n")
    assert "'equinet data build FILE --elements Si C ... -o STORE'" in fails("data", "build", cfg, "-o", tmp_path / "C")
    assert run("data", "build", cfg, "-o", tmp_path / "C", "--elements", "Si")[0] == 0
    assert Store(tmp_path / "C")[0].numbers.tolist() == [14]


def test_the_same_command_again_adds_nothing(run, silicon):
    path = samples.path("silicon", "train")
    before = (silicon / "manifest.json").read_bytes()
    code, out, _ = run("data", "build", path, "-o", silicon)
    assert code == 0
    assert f"{path}: in the store already" in out
    assert (silicon / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("action", ["info", "check", "split", "stats"])
def test_what_is_no_store(fails, tmp_path, action):
    assert "no such" in fails("data", action, tmp_path / "NONE")
    (tmp_path / "HALF").mkdir()
    (tmp_path / "HALF" / ".shard-000000.arrow.1.partial").touch()
    assert "the store was not finished; build it again" in fails("data", action, tmp_path / "HALF")


def test_usage(run):
    assert run("data")[0] == 2
    assert run("data", "bulid")[0] == 2
    for action in ACTIONS:
        code, out, _ = run("data", action, "--help")
        assert code == 0
        assert f"example:\n  equinet data {action} " in out


def test_interrupted_by_the_keyboard_it_goes_on(run, fails, tmp_path, monkeypatch):
    path = tmp_path / "frames.extxyz"
    ase.io.write(path, mixed_frames(300))
    take = build._Build._take

    def interrupted(self, entry, tally):
        if entry.frame == 200:
            raise KeyboardInterrupt
        take(self, entry, tally)

    with monkeypatch.context() as changed:
        changed.setattr(build._Build, "_take", interrupted)
        changed.setattr(build._Build, "_full", lambda self: len(self.waiting) == 50)
        command = ("data", "build", path, "-o", tmp_path / "STORE")
        assert run(*command) == (130, "", "equinet: error: interrupted\n")
    assert "its build was interrupted; run the same" in fails("data", "info", tmp_path / "STORE")
    code, out, _ = run(*command)
    assert code == 0
    assert "300 structures" in out
    assert [shard.structures for shard in Store(tmp_path / "STORE").manifest.shards] == [50, 50, 50, 50, 100]


def test_stats_say_what_is_converted(run, tmp_path):
    path = tmp_path / "input.data"
    path.write_text("begin\natom 0 0 0 H 0 0 0 0 0\natom 0 0 1.4 H 0 0 0 0 0\nenergy -1.17\ncharge 0\nend\n")
    code, out, _ = run("data", "stats", path)
    assert code == 0
    assert out.startswith(f"{path}: units: Hartree, Bohr; converted to eV, Angstrom\n")
