"""What guards of dynamics do, of one system or of thousands: limits of error bars, who passed them, frames to keep."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from equinet.elements import SYMBOLS
from equinet.errors import DataWarning, InputError
from equinet.files import check_output
from equinet.simulate.output import TRAJECTORY_SUFFIXES, trajectory_writer

Array = NDArray[np.float64]
Action = Literal["warn", "save", "stop"]


@dataclass(frozen=True)
class GuardSettings:
    """What a guard looks at, and what it does.

    Attributes:
        action: "warn": a warning, once for each system; "save": frames beyond the limits go to the file, a labelling
            code's input; "stop": the system goes no further. The others write the frames too where there is a file.
        support: limit of the atoms' support; 1 is the edge of the training data. None for no limit.
        forces_std: limit of the standard deviation of a force component, eV/Angstrom. None for no limit.
        file: for frames, .extxyz or .traj, of all systems.
        spacing: steps between saved frames of a system at least, so that they differ.
        interval: steps between looks; None: wherever a frame of the trajectory is saved.

    Raises:
        InputError: no limit, or one that is not positive; no such action; "save" without a file, or with a name that is
            no trajectory's; an interval below 1.
    """

    action: Action = "stop"
    support: float | None = 1.0
    forces_std: float | None = None
    file: Path | None = None
    spacing: int = 100
    interval: int | None = None

    def __post_init__(self) -> None:
        if self.action not in ("warn", "save", "stop"):
            raise InputError(f"a guard can warn, save or stop, not {self.action!r}")
        if not self.limits or not all(limit > 0 for limit in self.limits.values()):
            raise InputError("a guard needs a limit above 0, of the support or of the forces' standard deviation")
        if self.interval is not None and self.interval < 1:
            raise InputError(f"a guard every {self.interval} steps makes no sense; give 1 or more")
        if self.action == "save" and self.file is None:
            raise InputError("a guard that saves frames needs a file for them")
        if self.file is not None:
            check_output(self.file, TRAJECTORY_SUFFIXES)

    @property
    def limits(self) -> dict[str, float]:
        """Those that there are, by the name of what they limit."""
        given = {"support": self.support, "forces_std": self.forces_std}
        return {name: limit for name, limit in given.items() if limit is not None}

    def due(self, step: int, last: int, interval: int) -> bool:
        """Whether it is time for a look, in a run to step ``last`` whose frames are saved every ``interval`` steps."""
        return step % (self.interval or interval) == 0 or step == last


class Bars(NamedTuple):
    """Error bars of one structure."""

    energy_std: float  # eV
    forces_std: Array  # [N] eV/Angstrom, of each component
    support: Array  # [N]


@dataclass
class Record:
    """What has been seen of one system.

    Attributes:
        checked: looks at it.
        alarms: looks that found a limit passed.
        first: what was found first.
        saved: frames written.
        last_saved: step of the last one.
    """

    checked: int = 0
    alarms: int = 0
    first: str | None = None
    saved: int = 0
    last_saved: int | None = None


class Watch:
    """Looks at systems under way; a context manager, so that saved frames are whole in the end.

    Args:
        settings: of the guard.
        names: of the systems, in warnings and saved frames; None: of a system alone, number 0.
        state: of an earlier run, that this one goes on from.

    Raises:
        InputError: the file of the earlier run is gone.
    """

    def __init__(
        self, settings: GuardSettings, names: Sequence[str] | None = None, state: dict[str, Any] | None = None
    ) -> None:
        state = state or {"position": 0, "records": {}}
        self.settings, self._names = settings, names
        self.records = {int(system): Record(**each) for system, each in state["records"].items()}
        self._writer = trajectory_writer(settings.file, state["position"])
        self._save = self._writer.__enter__()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.__exit__(None, None, None)

    def look(self, system: int, step: int, bars: Bars, frame: Callable[[], Atoms]) -> str | None:
        """What is beyond a limit, in a line, if something is.

        Args:
            system: number of the system.
            step: of its dynamics.
            bars: of the system as it is now.
            frame: makes the frame, where a limit is passed.

        Raises:
            WriteError: the frame could not be written.
        """
        record = self.records.setdefault(system, Record())
        record.checked += 1
        # NaN is beyond any limit, too
        beyond = [name for name, limit in self.settings.limits.items() if not getattr(bars, name).max() <= limit]
        if not beyond:
            return None
        record.alarms += 1
        atoms = frame()
        spaced = record.last_saved is None or step - record.last_saved >= self.settings.spacing
        if self.settings.file is not None and spaced:
            self._save(self._marked(atoms, system, step, bars))
            record.saved, record.last_saved = record.saved + 1, step
        found = f"step {step}: {_where(beyond[0], bars, atoms.numbers, self.settings.limits[beyond[0]])}"
        if record.first is None:
            record.first = found
            if self.settings.action == "warn":
                warnings.warn(found if self._names is None else f"{self._names[system]}: {found}", DataWarning)
        return found

    def summary(self) -> str:
        """One line about all systems."""
        records = self.records.values()
        checked, alarms, saved = (
            sum(getattr(each, name) for each in records) for name in ("checked", "alarms", "saved")
        )
        if not alarms:
            return f"guard: {checked} checks, all within the limits"
        apart = f"{self.settings.spacing} steps apart or more"
        written = f", {saved} frames saved, {apart}" if self.settings.file is not None else ""
        line = f"guard: {alarms} of {checked} checks beyond the limits{written}"
        if self._names is not None:
            return f"{line}; in {sum(each.alarms > 0 for each in records)} of {len(records)} structures"
        return f"{line}; first, {self.records[0].first}"

    def state(self) -> dict[str, Any]:
        """What a run that goes on must know, JSON-able."""
        records = {str(system): asdict(record) for system, record in self.records.items()}
        return {"position": self._save.position, "records": records}

    def _marked(self, frame: Atoms, system: int, step: int, bars: Bars) -> Atoms:
        """With its error bars in arrays and info, and whose it is."""
        frame.info |= {"step": step, "energy_std": bars.energy_std}
        if self._names is not None:
            frame.info |= {"system": system, "start": self._names[system]}
        frame.set_array("forces_std", bars.forces_std)
        frame.set_array("support", bars.support)
        return frame


def _where(name: str, bars: Bars, numbers: NDArray[np.int64], limit: float) -> str:
    """Which atom is the worst, by how much."""
    what, unit = {"support": ("support", ""), "forces_std": ("standard deviation of the force", " eV/A")}[name]
    values = getattr(bars, name)
    worst = int(np.argmax(values))
    return (
        f"the {what} of atom {worst} ({SYMBOLS[numbers[worst]]}) is {values[worst]:.3g}{unit}, beyond {limit:g}{unit}"
    )
