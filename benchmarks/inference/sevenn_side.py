"""SevenNet's side: its own ASE calculator, as its documentation has it; run in its environment."""

import torch
from sevenn.calculator import SevenNetCalculator

from benchmarks.inference.case import answer, measure, parser

if __name__ == "__main__":
    arguments = parser().parse_args()
    torch.set_num_threads(arguments.threads)
    calculator = SevenNetCalculator(arguments.model, device="cpu")
    answer(measure(calculator, arguments.structure, arguments.steps, "sevenn", "e3nn"))
