from tests.cli.conftest import model_file as model_file
