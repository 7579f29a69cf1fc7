"""A committee: the same training several times, apart in seeds and, if asked for, in the frames that each sees."""

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from equinet.errors import InputError
from equinet.training.config_keys import read_yaml

COUNT, SUBSETS = "--committee", "--committee_subsets"
_SIGNALS = {number.value for number in signal.Signals}


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
        return newest if number > 1 and self._resumes() else folder

    def go_on_command(self) -> str:
        """What a user types to go on with a committee that was stopped."""
        own = [COUNT, str(self.members), *([SUBSETS] if self.subsets else [])]
        resume = [] if self._resumes() else ["--resume", "auto"]
        return shlex.join(["equinet", "train", *own, *self.arguments, *resume])

    def _resumes(self) -> bool:
        return bool(_value(self.arguments, "resume", "never") == "auto")


def committee_plan(args: Sequence[str]) -> CommitteePlan | None:
    """Take what concerns committees from the arguments of ``equinet train``; None where one model is wanted.

    Raises:
        InputError: a number of members below 2, subsets of frames of which none are drawn, or ``--ckpt_path``, which
            is of one run.
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
    if subsets and not _draws_frames(rest):
        raise InputError(
            f"{SUBSETS} would have no effect: with a validation set of its own and all frames to train on, members see "
            "the same; give data.n_train, or no data.val_path so that data.val_fraction draws one"
        )
    return CommitteePlan(int(members), subsets, rest)


def _draws_frames(args: Sequence[str]) -> bool:
    """Whether ``data.split_seed`` decides which frames are trained on."""

    def given(key: str) -> bool:
        return _value(args, f"data.{key}", None) not in (None, "null")

    own_validation = given("val_path") or (given("sample") and not given("train_path"))
    return given("n_train") or not own_validation


@dataclass
class _Stop:
    """SIGTERM and SIGUSR1: passed on to the member that trains, and remembered for when none does."""

    received: int = 0
    member: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def note(self, received: int, frame: FrameType | None) -> None:
        self.received = received
        if self.member is not None:
            self.member.send_signal(received)

    @contextmanager
    def listening(self) -> Iterator[None]:
        before = {name: signal.signal(name, self.note) for name in (signal.SIGTERM, signal.SIGUSR1)}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

    def run(self, command: list[str]) -> int:
        """The exit code as a shell has it: 128 + the number of the signal that ended it."""
        self.member = subprocess.Popen(command)
        if self.received:  # while it was started
            self.member.send_signal(self.received)
        try:
            code = self.member.wait()
        except KeyboardInterrupt:  # the terminal has told the member too
            self.member.wait()
            raise
        finally:
            self.member = None
        return 128 - code if code < 0 else code


def train_committee(plan: CommitteePlan) -> tuple[int, list[Path]]:
    """Train the members one after the other, each in a process of its own; signals are passed on to it.

    Returns:
        The exit code of the first that failed or was stopped (128 + the signal's number), else 0; and the model files.
    """
    folder = plan.folder()
    models: list[Path] = []
    stop = _Stop()
    with stop.listening():
        for number in range(plan.members):
            name = f"member {number + 1} of {plan.members}"
            if stop.received:  # as the member before ended
                return _stopped(f"before {name}", 128 + stop.received, plan), models
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()
            try:
                code = stop.run([sys.executable, "-m", "equinet.cli", "train", *plan.of_member(number, folder)])
            except KeyboardInterrupt:
                _stopped(f"in {name}", 128 + signal.SIGINT, plan)
                raise
            if code - 128 in _SIGNALS:
                return _stopped(f"in {name}", code, plan), models
            if code:
                return code, models
            models.append(folder / f"member-{number + 1}" / "model.safetensors")
    return 0, models


def _stopped(where: str, code: int, plan: CommitteePlan) -> int:
    name = signal.Signals(code - 128).name
    sys.stderr.write(f"equinet: stopped by {name} {where}; go on with the committee: {plan.go_on_command()}\n")
    return code


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
