"""Reports: what a run leaves behind, and how wrong a model is on data sets, as a page with figures and tables."""

from equinet.training.report.results import DataSet as DataSet
from equinet.training.report.results import Results as Results
from equinet.training.report.results import compare_data_sets as compare_data_sets
from equinet.training.report.results import data_set_names as data_set_names
from equinet.training.report.run import learning_curve as learning_curve
from equinet.training.report.run import nve_energy as nve_energy
from equinet.training.report.run import parity as parity
from equinet.training.report.run import write_report as write_report
from equinet.training.report.writing import write_test_report as write_test_report
