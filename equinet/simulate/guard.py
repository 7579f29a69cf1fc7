"""A guard for dynamics: looks at the model's error bars, and warns, saves the frame or stops where they are large."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from equinet.elements import SYMBOLS
from equinet.errors import DataWarning, InputError
from equinet.files import check_output
from equinet.simulate.output import TRAJECTORY_SUFFIXES, trajectory_writer, without_results

Action = Literal["warn", "save", "stop"]


@dataclass(frozen=True)
class GuardSettings:
    """What a guard of a run does; see :class:`Guard` for each."""

    action: Action = "stop"
    support: float | None = 1.0
    forces_std: float | None = None
    file: Path | None = None
    spacing: int = 100


class GuardStop(InputError):  # noqa: N818 (dynamics that stop where they should)
    """The model does not know what it says any more; names the step, the atom and by how much.

    Attributes:
        atoms: the structure, with energy, forces, standard deviations and support as results.
    """

    def __init__(self, message: str, atoms: Atoms) -> None:
        super().__init__(message)
        self.atoms = atoms


class Guard:
    """Checks of a structure under way, by the uncertainty of its calculator.

    Called with the step, every so many steps: ``dynamics.attach(lambda: guard(dynamics.nsteps), interval=10)``; as a
    context manager, so that saved frames are whole in the end.

    Args:
        atoms: whose calculator has an uncertainty (:class:`equinet.simulate.Calculator`).
        action: "warn": a warning, once for each time that limits are passed; "save": frames beyond them go to the
            file, a labelling code's input; "stop": :class:`GuardStop` is raised. The others write the frames too where
            there is a file.
        support: limit of the atoms' support; 1 is the edge of the training data. None for no limit.
        forces_std: limit of the standard deviation of a force component, eV/Angstrom. None for no limit.
        file: for frames, .extxyz or .traj.
        spacing: steps between saved frames at least, so that they differ.

    Raises:
        InputError: a calculator without uncertainty; no limit, or one that is not positive; "save" without a file, or
            with a name that is no trajectory's.
    """

    def __init__(
        self,
        atoms: Atoms,
        action: Action = "warn",
        support: float | None = 1.0,
        forces_std: float | None = None,
        file: Path | None = None,
        spacing: int = 100,
    ) -> None:
        limits = {"support": support, "forces_std": forces_std}
        self.limits = {name: limit for name, limit in limits.items() if limit is not None}
        if action not in ("warn", "save", "stop"):
            raise InputError(f"a guard can warn, save or stop, not {action!r}")
        if not self.limits or not all(limit > 0 for limit in self.limits.values()):
            raise InputError("a guard needs a limit above 0, of the support or of the forces' standard deviation")
        if getattr(atoms.calc, "uncertainty", None) is None:
            raise InputError("a guard needs a calculator with an uncertainty; make one with equinet uncertainty")
        if action == "save" and file is None:
            raise InputError("a guard that saves frames needs a file for them")
        if file is not None:
            check_output(file, TRAJECTORY_SUFFIXES)
        self.atoms = atoms
        self.action = action
        self.spacing = spacing
        self.checked = 0
        """How often it was called."""
        self.alarms = 0
        """How often a limit was passed."""
        self.first: str | None = None
        """What was found first."""
        self.saved = 0
        """Frames written."""
        self._writer = trajectory_writer(file)
        self._save = self._writer.__enter__()
        self._has_file = file is not None
        self._alarmed = False
        self._last_saved: int | None = None

    def __enter__(self) -> "Guard":
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.__exit__(None, None, None)

    def __call__(self, step: int) -> None:
        """Look at the structure.

        Raises:
            GuardStop: a limit is passed, and the action is "stop".
        """
        self.checked += 1
        found = self._beyond(step)
        if found is None:
            self._alarmed = False
            return
        self.alarms += 1
        self.first = self.first or found
        frame = self._frame(step)
        if self._has_file and (self._last_saved is None or step - self._last_saved >= self.spacing):
            self._save(frame)
            self.saved += 1
            self._last_saved = step
        if self.action == "stop":
            raise GuardStop(f"{found}; label this structure and train on it, or raise the limit", frame)
        if self.action == "warn" and not self._alarmed:
            warnings.warn(found, DataWarning)
        self._alarmed = True

    def summary(self) -> str:
        """One line about the whole run."""
        if not self.alarms:
            return f"guard: {self.checked} checks, all within the limits"
        saved = f", {self.saved} frames saved" if self._has_file else ""
        return f"guard: {self.alarms} of {self.checked} checks beyond the limits{saved}; first, {self.first}"

    def _beyond(self, step: int) -> str | None:
        """Which limit is passed by which atom; None if none is."""
        words = {"support": ("support", ""), "forces_std": ("standard deviation of the force", " eV/A")}
        for name, limit in self.limits.items():
            values = self.atoms.calc.get_property(name, self.atoms)
            worst = int(np.argmax(values))
            if not values[worst] <= limit:
                what, unit = words[name]
                symbol = SYMBOLS[self.atoms.numbers[worst]]
                return (
                    f"step {step}: the {what} of atom {worst} ({symbol}) is {values[worst]:.3g}{unit}, beyond "
                    f"{limit:g}{unit}"
                )
        return None

    def _frame(self, step: int) -> Atoms:
        """A copy that stands alone; standard deviations and support in arrays and info."""
        results = dict(self.atoms.calc.results)
        frame = without_results(self.atoms)
        frame.calc = SinglePointCalculator(
            frame, **{name: results[name] for name in ("energy", "free_energy", "forces", "stress") if name in results}
        )
        frame.info |= {"step": step, "energy_std": results["energy_std"]}
        for name in ("forces_std", "support"):
            frame.set_array(name, np.array(results[name]))
        return frame
