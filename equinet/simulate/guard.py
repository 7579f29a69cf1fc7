"""A guard for dynamics in ASE: looks at the model's error bars; warns, saves the frame or stops beyond a limit."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from equinet.errors import InputError
from equinet.simulate.output import without_results
from equinet.simulate.watch import Bars, GuardSettings, Watch


class GuardStop(InputError):  # noqa: N818 (dynamics that stop where they should)
    """The model does not know what it says any more; names the step, the atom and by how much.

    Attributes:
        atoms: the structure, with energy and forces.
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
        settings: limits, and what happens beyond them; "stop" raises :class:`GuardStop`.
        state: of an earlier guard (``watch.state()``), that this one goes on from.

    Raises:
        InputError: a calculator without uncertainty; the file of the earlier guard is gone.
    """

    def __init__(self, atoms: Atoms, settings: GuardSettings, state: dict[str, Any] | None = None) -> None:
        if getattr(atoms.calc, "uncertainty", None) is None:
            raise InputError("a guard needs a calculator with an uncertainty; make one with equinet uncertainty")
        self.atoms, self.settings = atoms, settings
        self.watch = Watch(settings, state=state)

    def __enter__(self) -> "Guard":
        return self

    def __exit__(self, *exception: object) -> None:
        self.watch.__exit__(*exception)

    def __call__(self, step: int) -> None:
        """Look at the structure.

        Raises:
            GuardStop: a limit is passed, and the action is "stop".
        """
        found = self.watch.look(0, step, self._bars(), self._frame)
        if found is not None and self.settings.action == "stop":
            raise GuardStop(f"{found}; label this structure and train on it, or raise the limit", self._frame())

    def summary(self) -> str:
        """One line about the whole run."""
        return self.watch.summary()

    def _bars(self) -> Bars:
        forces_std, support, energy_std = (
            self.atoms.calc.get_property(name, self.atoms) for name in ("forces_std", "support", "energy_std")
        )
        return Bars(float(energy_std), np.array(forces_std), np.array(support))

    def _frame(self) -> Atoms:
        """A copy that stands alone."""
        results = self.atoms.calc.results
        frame = without_results(self.atoms)
        names = ("energy", "free_energy", "forces", "stress")
        frame.calc = SinglePointCalculator(frame, **{name: results[name] for name in names if name in results})
        return frame
