"""``python -m equinet.cli``: the same as ``equinet``."""

import sys

from equinet.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
