"""Tables of functions of the distance."""

from equinet_kernels.spline.op import RadialSpline as RadialSpline
from equinet_kernels.spline.op import radial_spline as radial_spline
from equinet_kernels.spline.reference import hermite_table as hermite_table
from equinet_kernels.spline.reference import spline_reference as spline_reference
from equinet_kernels.spline.tabulate import tabulate as tabulate
