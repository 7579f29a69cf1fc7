"""A committee: the same training several times, apart in seeds and, if asked for, in the frames that each sees."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from equinet.errors import InputError
from equinet.training.config_keys import read_yaml

COUNT, SUBSETS = "--committee", "--committee_subsets"


@dataclass(frozen=True)
class CommitteePlan:
    """What to train.

    Attributes:
        members: how many.
        subsets: whether each draws validation frames, and frames of ``data.n_train``, of its own.
        arguments: of ``equinet train``, for all.
    """

    members: int
    subsets: bool
    arguments: list[str]

    def of_member(self, number: int, folder: Path) -> list[str]:
        """Arguments of a member (from 0)."""
        seed = int(_value(self.arguments, "seed", 0)) + number
        own = ["--run_dir", str(folder / f"member-{number + 1}"), "--seed", str(seed)]
        if self.subsets:
            own += ["--data.split_seed", str(int(_value(self.arguments, "data.split_seed", 0)) + number)]
        return [*self.arguments, *own]

    def folder(self) -> Path:
        """Where the members go: ``run_dir``, or ``run_dir-2``, ... where that has members already and the run is new.

        With ``--resume auto`` it is the newest that has.
        """
        base = Path(str(_value(self.arguments, "run_dir", "runs/run")))
        number, folder = 1, base
        while (folder / "member-1").exists():
            newest, number = folder, number + 1
            folder = base.with_name(f"{base.name}-{number}")
        return newest if number > 1 and _value(self.arguments, "resume", "never") == "auto" else folder


def committee_plan(args: Sequence[str]) -> CommitteePlan | None:
    """Take what concerns committees from the arguments of ``equinet train``; None where one model is wanted.

    Raises:
        InputError: a number of members below 2, or ``--ckpt_path``, which is of one run.
    """
    members, subsets, rest = "", False, []
    arguments = iter(args)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name == COUNT:
            members = value if equals else next(arguments, "")
            if not members.isdecimal() or int(members) < 2:
                raise InputError(f"{COUNT} {members}: give the number of members, 2 or more")
        elif argument == SUBSETS:
            subsets = True
        else:
            rest.append(argument)
    if not members:
        if subsets:
            raise InputError(f"{SUBSETS} is for committees; give {COUNT} with the number of members too")
        return None
    if _value(rest, "ckpt_path", None) is not None:
        raise InputError(f"--ckpt_path is of one run; a committee goes on with {COUNT} {members} --resume auto")
    return CommitteePlan(int(members), subsets, rest)


def train_committee(plan: CommitteePlan) -> tuple[int, list[Path]]:
    """Train the members one after the other, each in a process of its own; signals are passed on to it.

    Returns:
        The exit code of the first that failed, else 0; and the model files.
    """
    folder = plan.folder()
    models: list[Path] = []
    for number in range(plan.members):
        sys.stdout.write(f"member {number + 1} of {plan.members}\n")
        sys.stdout.flush()
        child = subprocess.Popen([sys.executable, "-m", "equinet.cli", "train", *plan.of_member(number, folder)])

        def pass_on(received: int, frame: FrameType | None, child: "subprocess.Popen[bytes]" = child) -> None:
            child.send_signal(received)

        before = {name: signal.signal(name, pass_on) for name in (signal.SIGTERM, signal.SIGUSR1)}
        try:
            code = child.wait()
        except KeyboardInterrupt:  # the terminal has told the member too
            child.wait()
            raise
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)
        if code:
            return code, models
        models.append(folder / f"member-{number + 1}" / "model.safetensors")
    return 0, models


def _value(args: Sequence[str], key: str, default: Any) -> Any:
    """What a key is set to by options and configuration files; the last one counts."""
    found = default
    arguments = iter(args)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name == f"--{key}":
            found = value if equals else next(arguments, default)
        elif name in ("--config", "-c"):
            content: Any = read_yaml(Path(value if equals else next(arguments, "")))
            for part in key.split("."):
                content = content.get(part) if isinstance(content, dict) else None
            found = found if content is None else content
    return found
