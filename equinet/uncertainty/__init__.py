"""Knowing when not to believe a potential: calibrated error bars of energies and forces, and what lies outside."""

from equinet.uncertainty.calibration import Calibration as Calibration
from equinet.uncertainty.calibration import calibrate as calibrate
from equinet.uncertainty.committee import Committee as Committee
from equinet.uncertainty.estimate import Estimate as Estimate
from equinet.uncertainty.estimate import Uncertainty as Uncertainty
from equinet.uncertainty.file import load_uncertainty as load_uncertainty
from equinet.uncertainty.file import save_uncertainty as save_uncertainty
from equinet.uncertainty.fit import FitSettings as FitSettings
from equinet.uncertainty.fit import fit_uncertainty as fit_uncertainty
from equinet.uncertainty.judge import Judgement as Judgement
from equinet.uncertainty.judge import Verdict as Verdict
from equinet.uncertainty.judge import judge as judge
from equinet.uncertainty.last_layer import LastLayer as LastLayer
from equinet.uncertainty.selection import Selection as Selection
from equinet.uncertainty.selection import select_frames as select_frames
from equinet.uncertainty.support import Support as Support
