"""What a trajectory says: structure, diffusion, vibrations, conservation of energy, each with its error.

Frames are read once, one at a time; each analysis records what it needs of them.
"""

from equinet.simulate.analysis.analyze import analyze as analyze
from equinet.simulate.analysis.trajectory import Trajectory as Trajectory
