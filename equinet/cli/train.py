"""``equinet train``: a configuration file, and any key of it on the command line."""

import sys

HELP = "train a potential on labelled structures"


def main(argv: list[str]) -> int:
    """Run the verb.

    Args:
        argv: what follows ``equinet train``.

    Returns:
        The exit code.

    Raises:
        InputError: for anything wrong with the configuration, the data or the machine.
    """
    from equinet.training.configuration import TrainCLI, expand_shorthands
    from equinet.training.quiet import quiet_third_parties

    with quiet_third_parties():
        run = TrainCLI(expand_shorthands(argv)).fit()
    sys.stdout.write(f"model: {run.model}\n")
    return 0
