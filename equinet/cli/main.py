"""``equinet VERB ...``: finds the verb, runs it, and turns a user's mistake into one line.

Nothing heavy is imported here, nor at the top of a verb's module: ``equinet --help`` answers at once.
"""

import argparse
import difflib
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, TextIO

from equinet import __version__
from equinet.errors import DataWarning, InputError

VERBS = (
    "train",
    "test",
    "predict",
    "uncertainty",
    "select",
    "info",
    "md",
    "analyze",
    "relax",
    "eos",
    "elastic",
    "vacancy",
    "surface",
    "scan",
    "phonons",
    "verify",
    "import",
    "compile",
    "export",
    "lammps",
    "data",
    "bench",
    "cite",
)
"""In the order in which one meets them; each is a module of this package."""

_MODULES = {"import": "import_model"}
"""Where the module cannot be named as the verb."""

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``equinet`` with the given arguments (those of the process by default).

    Returns:
        The exit code: 0 done, 1 bad input or a failed check, 2 bad usage, 130 interrupted.
    """
    _rest_idle_threads()
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    if not arguments:
        parser.print_help(sys.stderr)
        return EXIT_USAGE
    if arguments[0].startswith("-"):
        parser.parse_args(arguments)  # --help and --version leave here, anything else is an error
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(VERBS)}"
        return _fail(f"unknown verb {verb!r}; {hint}", EXIT_USAGE)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        warnings.simplefilter("always", DataWarning)
        try:
            code = int(verb_module(verb).main(rest))
            sys.stdout.flush()
            return code
        except BrokenPipeError:  # the reader (head, less) has left; nothing is wrong here
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_FAILURE
        except InputError as error:
            return _fail(_with_notes(str(error), error), EXIT_FAILURE)
        except KeyboardInterrupt as stop:
            return _fail(_with_notes("interrupted", stop), EXIT_INTERRUPTED)


def _rest_idle_threads() -> None:
    """Let OpenMP's waiting threads sleep soon, unless the user has said how they should wait; before torch is loaded.

    GNU's default spins for milliseconds: on a machine with other work, threads that wait for a core then burn it, and
    two are many times slower than one. A thousand turns cost nothing on an idle machine.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"


def verb_module(verb: str) -> Any:
    """The module of a verb: HELP, and main(arguments)."""
    return importlib.import_module(f"equinet.cli.{_MODULES.get(verb, verb)}")


def _parser() -> argparse.ArgumentParser:
    helps = {verb: verb_module(verb).HELP for verb in VERBS}
    width = max(map(len, VERBS))
    lines = [f"  {verb:{width}}  {text}" for verb, text in helps.items()]
    parser = argparse.ArgumentParser(
        prog="equinet",
        usage="equinet VERB [options]",
        description="Machine-learned interatomic potentials: train, test, simulate.",
        epilog="verbs:\n"
        + "\n".join(lines)
        + "\n\nexample:\n  equinet train --config configs/quickstart.yaml\n\n'equinet VERB --help' explains a verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"equinet {__version__}")
    return parser


def _with_notes(message: str, error: BaseException) -> str:
    """And what was added on the way, such as how to go on."""
    return "; ".join([message, *getattr(error, "__notes__", [])])


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"equinet: error: {' '.join(message.split())}\n")
    return code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Our warnings are one line for the user; others are shown as Python does."""
    stream = sys.stderr if file is None else file
    if issubclass(category, DataWarning):
        stream.write(f"equinet: warning: {' '.join(str(message).split())}\n")
    else:
        stream.write(warnings.formatwarning(message, category, filename, lineno, line))
