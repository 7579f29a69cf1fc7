"""torch-sim is an extra: nothing needs it until its model is asked for, which then says how to install it."""

import subprocess
import sys

PROGRAM = """
import sys
import equinet, equinet.simulate

equinet.Calculator
assert "torch_sim" not in sys.modules
from equinet import *

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "torch_sim":
            raise ModuleNotFoundError(f"refused: {name}", name=name)

sys.meta_path.insert(0, Refuse())
try:
    equinet.TorchSimModel
except ImportError as error:
    print(error)
"""


def test_absent_it_is_missed_where_it_is_asked_for():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "pip install 'equinet-mlip[torchsim]'" in result.stdout
    assert result.stdout.count("\n") == 1
