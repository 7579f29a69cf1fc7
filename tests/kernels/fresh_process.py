"""Python programs in processes of their own, for what a process settles once: imports, environment, its end."""

import os
import subprocess
import sys


def run_python(program: str, **environment: str) -> str:
    """What the program prints. Triton does not interpret there unless asked to."""
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
