"""Files -> records -> examples: reading, checking, statistics, batches."""

from equinet.data import samples as samples
from equinet.data.examples import Example as Example
from equinet.data.examples import ExampleDataset as ExampleDataset
from equinet.data.examples import Labels as Labels
from equinet.data.examples import collate_examples as collate_examples
from equinet.data.examples import graph_from_atoms as graph_from_atoms
from equinet.data.examples import make_example as make_example
from equinet.data.files import read_atoms as read_atoms
from equinet.data.keys import LabelKeys as LabelKeys
from equinet.data.modals import Modals as Modals
from equinet.data.modals import reference_energies as reference_energies
from equinet.data.modals import statistics_of_modals as statistics_of_modals
from equinet.data.labels import ReadReport as ReadReport
from equinet.data.reader import RecordSet as RecordSet
from equinet.data.reader import read_records as read_records
from equinet.data.record import Record as Record
from equinet.data.record import separate_isolated_atoms as separate_isolated_atoms
from equinet.data.record import split_records as split_records
from equinet.data.statistics import Statistics as Statistics
from equinet.data.statistics import compute_statistics as compute_statistics
from equinet.data.stress_check import StressCheck as StressCheck
from equinet.data.stress_check import check_stress as check_stress
from equinet.data.summary import summarize as summarize
