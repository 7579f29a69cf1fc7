"""Our side: a model file in the ASE calculator."""

import torch

from benchmarks.inference.case import answer, measure, parser
from equinet import Calculator

if __name__ == "__main__":
    arguments = parser().parse_args()
    torch.set_num_threads(arguments.threads)
    answer(measure(Calculator(arguments.model), arguments.structure, arguments.steps, "equinet-mlip"))
