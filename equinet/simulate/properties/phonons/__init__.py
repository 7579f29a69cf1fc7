"""Phonons with phonopy, from forces of any ASE calculator or from the analytic Hessian of a potential."""

from equinet.simulate.properties.phonons.calculation import phonons as phonons
from equinet.simulate.properties.phonons.result import Phonons as Phonons
from equinet.simulate.properties.phonons.result import PhononSettings as PhononSettings
