import ase.io
import pytest

from equinet.cli.main import main
from equinet.models import save_model
from equinet.simulate.structures import bulk, molecule, slab
from tests.simulate.conftest import small_potential


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(small_potential(), path)
    return path


@pytest.fixture
def structures(tmp_path):
    """Bulk, slab and molecule in one file."""
    path = tmp_path / "structures.extxyz"
    ase.io.write(path, [bulk([14]), slab([6, 14]), molecule([14])])
    return path


@pytest.fixture
def crystal(tmp_path):
    path = tmp_path / "crystal.extxyz"
    ase.io.write(path, bulk([14], 1))
    return path


@pytest.fixture
def run(capsys):
    """Runs a verb in this process; gives (exit code, standard output, standard error)."""

    def call(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as leaving:  # argparse: usage errors and --help
            code = leaving.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def fails(run):
    """Runs a verb that must fail with one line on standard error, and gives the line."""

    def call(*arguments):
        code, out, err = run(*arguments)
        assert code == 1
        assert out == ""
        assert err.startswith("equinet: error: ")
        assert err.count("\n") == 1
        return err

    return call
