"""What a user sees when input is wrong: one line that says what, where, and what to do."""

import math
from numbers import Real


class InputError(ValueError):
    """Bad input: a file, a configuration key, a structure, a model file.

    The message is one line: what is wrong; where (file, frame, key); what to do about it.
    The command line prints it and exits non-zero; no traceback is shown.
    """


class DataWarning(UserWarning):
    """Input that is usable but suspicious; the message counts the frames concerned."""


def is_number(value: object) -> bool:
    """Whether an argument is a finite number; users give anything."""
    return isinstance(value, Real) and math.isfinite(value)
