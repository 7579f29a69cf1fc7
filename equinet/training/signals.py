"""SIGTERM and SIGUSR1, which batch systems send before they end a job: noted when they come, acted on between steps."""

import signal
from types import FrameType
from typing import Any

from equinet.training.agreement import Agreement

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StoppedBySignal(Exception):  # noqa: N818 (nothing is wrong)
    """The run was told to stop, has saved, and ends.

    Attributes:
        signal: which one came.
        step: optimiser steps taken.
    """

    def __init__(self, number: int, step: int) -> None:
        self.signal = signal.Signals(number)
        self.step = step
        super().__init__(f"stopped by {self.signal.name} after step {step}")


class StopSignals:
    """Listens for signals to one process, and answers for all processes of a run.

    Handlers that were there, Lightning's among them (which talk to other processes while a signal is handled), are put
    aside meanwhile.
    """

    def __init__(self) -> None:
        self._received = 0
        self._before: dict[signal.Signals, Any] = {}
        self._agreement = Agreement()

    def listen(self) -> None:
        """From now on signals are noted and nothing else."""
        self._before = {name: signal.signal(name, self._note) for name in SIGNALS}

    def ignore(self) -> None:
        """Put back the handlers that were there."""
        for name, handler in self._before.items():
            signal.signal(name, handler)
        self._before = {}

    def received(self) -> int:
        """The number of a signal that came to any process, 0 if none did; every process must ask."""
        self._received = self._agreement.highest(self._received)
        return self._received

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number
