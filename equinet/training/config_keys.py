"""Keys of a configuration, checked before they are parsed: a mistyped one is named together with the one meant.

argparse would take an abbreviation for the key, and a page of usage for an explanation.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import yaml

from equinet.errors import InputError


def given_keys(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield every key given on the command line and in configuration files, and where it stands.

    Raises:
        InputError: a configuration file that cannot be read.
    """
    arguments = iter(args)
    for argument in arguments:
        if not argument.startswith("--") and argument != "-c":
            continue
        name, equals, value = argument.partition("=")
        key = "config" if name == "-c" else name.removeprefix("--").removesuffix("+")
        yield key, f"option --{key}"
        if key == "config":
            path = value if equals else next(arguments, "")
            if not path:
                raise InputError("--config needs the path of a configuration file")
            for nested, _ in _items(read_yaml(Path(path))):
                yield nested, path


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        InputError: no such file, or not a YAML mapping.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"configuration {path}: {error.strerror}; check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"configuration {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        kind = "nothing" if content is None else f"a {type(content).__name__}"
        raise InputError(f"configuration {path} must hold `key: value` lines, it holds {kind}")
    return content


def _items(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from _items(value, key + ".")
        else:
            yield key, value


def check_key(key: str, where: str, known: Collection[str], offered: Collection[str]) -> None:
    """Refuse a key that nothing reads.

    Keys below one of a free type (``trainer.callbacks``, ``data.priors``) are left to the parser.

    Args:
        key: with dots.
        where: file or option, for the message.
        known: all keys the parser has.
        offered: those that may be named as the one meant.

    Raises:
        InputError: an unknown key, with the nearest of those offered.
    """
    groups = {parent for name in known for parent in _parents(name)}
    if key in known or key in groups:
        return
    if any(parent in known and parent not in groups for parent in _parents(key)):
        return
    near = nearest_key(key, offered)
    hint = f"did you mean {near}?" if near else "see `equinet train --help` for all keys"
    raise InputError(f"unknown key {key} ({where}); {hint}")


def nearest_key(key: str, offered: Collection[str]) -> str | None:
    """The key that was probably meant: like it as a whole, or like it in its last part; None if nothing is near."""

    def likeness(name: str) -> tuple[float, float]:
        whole = SequenceMatcher(None, key, name).ratio()
        last = SequenceMatcher(None, key.rpartition(".")[2], name.rpartition(".")[2]).ratio()
        return whole, last

    best = max(sorted(offered), key=lambda name: sum(likeness(name)))
    whole, last = likeness(best)
    return best if whole > 0.75 or last > 0.6 else None


def _parents(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def changed_keys(began: dict[str, Any], now: dict[str, Any], path: Path) -> list[str]:
    """Compare the configuration of today with that a run began with.

    Args:
        began: the configuration the run began with.
        now: that of today.
        path: where the first stands.

    Returns:
        A line for each key that may differ and does, or that the version which began the run did not know. Settings of
        the data that decide which frame is met when are compared by the data module, with the checkpoint.

    Raises:
        InputError: a key of ``model`` differs: what the checkpoint holds would silently win, or clash.
    """
    before, after = (dict(_items({key: config.get(key) or {} for key in now})) for config in (began, now))
    lines = []
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) == after.get(key) or key in ("run_dir", "resume"):
            continue
        if key not in before:
            lines.append(f"{key} is {after[key]}; the version that began the run did not have this setting")
            continue
        if key.startswith("model."):
            raise InputError(
                f"{key} is {after.get(key)}, but the run began with {before.get(key)} ({path}); "
                "keep it to resume, or start a new run (another run_dir, and neither --ckpt_path nor --resume)"
            )
        lines.append(f"{key} is {after.get(key)} from now on; the run began with {before.get(key)}")
    return lines


def one_line(message: str) -> str:
    """The parser's complaint as one line that a person who writes no Python understands."""
    text = " ".join(message.split())
    text = re.sub(r'^Parser key "([^"]*)":', r"\1:", text)
    text = re.sub(r"typing\.Literal\[([^\]]*)\]", r"one of \1", text)
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
    text = re.sub(
        r"Does not validate against any of the Union subtypes Subtypes: \[(.*?)\] Errors: .* Given value:",
        r"Expected a one of \1. Got value:",
        text,
    )
    return text.replace("Expected a one of", "expected one of").replace("Expected a ", "expected ")
