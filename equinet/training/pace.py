"""How far a run is: from optimiser steps to the share of the run, also where the number of processes has changed."""

from collections.abc import Sequence


class Pace:
    """Progress as a function of the step: 0 at its start, 1 at its end, straight lines between points.

    Args:
        points: (step, progress) where the run began, and where it went on with another number of processes.
        steps: optimiser steps of a whole run as it goes on now.
    """

    def __init__(self, points: Sequence[tuple[int, float]], steps: float) -> None:
        step, progress = points[-1]
        self.points = [*points, (step + (1.0 - progress) * steps, 1.0)]

    @property
    def end(self) -> float:
        """The step at which the run ends."""
        return self.points[-1][0]

    def progress(self, step: float) -> float:
        """Share of the run that lies behind a step, 0 to 1."""
        for (before, low), (after, high) in zip(self.points, self.points[1:], strict=False):
            if step < after:
                return low + (high - low) * (step - before) / (after - before)
        return 1.0
