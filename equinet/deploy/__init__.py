"""Models as files that other programs run, each checked against the model that it came from."""

from equinet.deploy.artefact import Artefact as Artefact
from equinet.deploy.artefact import load_artefact as load_artefact
from equinet.deploy.check import check_artefact as check_artefact
from equinet.deploy.export import KINDS as KINDS
from equinet.deploy.export import export_model as export_model
