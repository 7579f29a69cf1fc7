"""Options that several verbs share, so that they are spelled and explained alike."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from equinet.errors import InputError


def verb_parser(verb: str, description: str, example: str) -> argparse.ArgumentParser:
    """A parser for one verb whose --help ends with an example."""
    return argparse.ArgumentParser(
        prog=f"equinet {verb}",
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model file, as a positional argument."""
    parser.add_argument("model", metavar="MODEL", type=Path, help="a model file (*.safetensors)")


def add_device_and_dtype(parser: argparse.ArgumentParser, dtype: str | None = None) -> None:
    """Where the model runs and in which precision (None: as it was saved)."""
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu, cuda or cuda:N (default: cpu)")
    add_dtype(parser, dtype)


def add_modal(parser: argparse.ArgumentParser) -> None:
    """At which level of theory the model predicts."""
    parser.add_argument("--modal", metavar="NAME", help="level of theory, of a model that knows several")


def add_dtype(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """In which precision the model is (None: as it was saved)."""
    parser.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        default=default,
        help=f"precision of the model (default: {default or 'as it was saved'})",
    )


def add_batch_size(parser: argparse.ArgumentParser) -> None:
    """Structures per batch."""
    parser.add_argument(
        "--batch-size", type=positive_integer, default=32, metavar="N", help="structures per batch (default: 32)"
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Of all random numbers."""
    parser.add_argument(
        "--seed", type=natural_number, default=0, metavar="N", help="of the random numbers (default: 0)"
    )


def given(arguments: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """The values of the options that were given, of those whose default the library knows (None here)."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def refuse(arguments: argparse.Namespace, names: Iterable[str], why: str) -> None:
    """Stop where an option was given that could have no effect.

    Args:
        arguments: parsed; options that were not given are None or False.
        names: of the options, as attributes.
        why: they have none, and what to do.

    Raises:
        InputError: one of them was given.
    """
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value is not False:  # a 0 was given
            raise InputError(f"--{name.replace('_', '-')} would have no effect: {why}")


def json_object(option: str, text: str) -> dict[str, Any]:
    """Keyword arguments given as a JSON object.

    Raises:
        InputError: it is none.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InputError(f"{option} {text!r} is not JSON ({error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{option} {text!r} is not a JSON object; give something like '{{\"rc\": 5.0}}'")
    return values


def positive_integer(text: str) -> int:
    """1, 2, ...; anything else is a usage error."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def natural_number(text: str) -> int:
    """0, 1, 2, ...; anything else is a usage error."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


positive_integer.__name__ = "number above 0"  # argparse says: invalid number above 0 value: '-3'
natural_number.__name__ = "whole number"


def existing_file(path: Path) -> Path:
    """The path of a file that is there.

    Raises:
        InputError: it is not.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    return path
