"""Using a potential: ASE calculator, batched prediction, dynamics, relaxation, physics checks."""

from equinet.models.inference import Result as Result
from equinet.simulate.calculator import Calculator as Calculator
from equinet.simulate.dynamics import ExplosionError as ExplosionError
from equinet.simulate.dynamics import Simulation as Simulation
from equinet.simulate.dynamics import run_md as run_md
from equinet.simulate.energy_drift import Drift as Drift
from equinet.simulate.energy_drift import drift as drift
from equinet.simulate.ensembles import Ensemble as Ensemble
from equinet.simulate.prediction import PredictionStream as PredictionStream
from equinet.simulate.prediction import predict as predict
from equinet.simulate.relaxation import Relaxation as Relaxation
from equinet.simulate.relaxation import relax as relax
from equinet.simulate.relaxation import relax_cell as relax_cell
from equinet.simulate.velocities import thermalize as thermalize
