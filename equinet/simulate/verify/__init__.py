"""The physics every potential must obey, as checks on any ASE calculator, ours or another's.

Each check is a function of (calculator, atoms, precision) that returns a `Check`; `run_checks` makes all of
them on several structures.
"""

from equinet.simulate.verify.check import FLOAT32 as FLOAT32
from equinet.simulate.verify.check import FLOAT64 as FLOAT64
from equinet.simulate.verify.check import PRECISIONS as PRECISIONS
from equinet.simulate.verify.check import Check as Check
from equinet.simulate.verify.check import Precision as Precision
from equinet.simulate.verify.conservation import closed_loop_work as closed_loop_work
from equinet.simulate.verify.conservation import energy_drift as energy_drift
from equinet.simulate.verify.conservation import energy_fluctuation as energy_fluctuation
from equinet.simulate.verify.gradients import forces_are_gradients as forces_are_gradients
from equinet.simulate.verify.gradients import hessian_is_symmetric as hessian_is_symmetric
from equinet.simulate.verify.gradients import no_stress_without_cell as no_stress_without_cell
from equinet.simulate.verify.gradients import virial_is_gradient as virial_is_gradient
from equinet.simulate.verify.suite import CHECKS as CHECKS
from equinet.simulate.verify.suite import DYNAMIC_CHECKS as DYNAMIC_CHECKS
from equinet.simulate.verify.suite import STATIC_CHECKS as STATIC_CHECKS
from equinet.simulate.verify.suite import built_in_structures as built_in_structures
from equinet.simulate.verify.suite import rattled as rattled
from equinet.simulate.verify.suite import run_checks as run_checks
from equinet.simulate.verify.suite import worst_of_each as worst_of_each
from equinet.simulate.verify.symmetry import extensivity as extensivity
from equinet.simulate.verify.symmetry import permutation as permutation
from equinet.simulate.verify.symmetry import reflection as reflection
from equinet.simulate.verify.symmetry import rotation as rotation
from equinet.simulate.verify.symmetry import translation as translation
