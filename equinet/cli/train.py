"""``equinet train``: a configuration file, and any key of it on the command line; one model or a committee."""

import sys

HELP = "train a potential on labelled structures"


def main(argv: list[str]) -> int:
    """Run the verb.

    Args:
        argv: what follows ``equinet train``.

    Returns:
        The exit code: 128 + the signal's number where a signal ended the run.

    Raises:
        InputError: for anything wrong with the configuration, the data or the machine.
    """
    from equinet.training.committee import committee_plan, train_committee

    plan = committee_plan(argv)
    if plan is not None:
        code, models = train_committee(plan)
        if code == 0:
            paths = " ".join(map(str, models))
            sys.stdout.write(f"committee of {len(models)}; its uncertainty: equinet uncertainty {paths} --train ...\n")
        return code

    from equinet.training.agreement import ToldByFirst
    from equinet.training.configuration import TrainCLI, expand_shorthands
    from equinet.training.quiet import quiet_third_parties
    from equinet.training.signals import StoppedBySignal

    with quiet_third_parties():
        training = TrainCLI(expand_shorthands(argv))
        try:
            run = training.fit()
        except ToldByFirst:
            return 1
        except StoppedBySignal as stop:
            if not training.first:
                return 0  # the first process answers for all
            sys.stderr.write(f"equinet: {stop}; the checkpoint is written; go on with: {training.go_on_command()}\n")
            return 128 + stop.signal
    if training.first:
        sys.stdout.write(f"model: {run.model}\n")
        for path in training.export():
            sys.stdout.write(f"exported and checked: {path}\n")
    return 0
