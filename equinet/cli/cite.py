"""``equinet cite``: the papers behind the package, or behind a model."""

import sys
from pathlib import Path

from equinet.cli.options import verb_parser

HELP = "print the papers to cite, for the package or for a model"
DESCRIPTION = """Print the papers to cite as BibTeX: those that everything made with equinet rests on, or with MODEL
those that the model uses: its architecture, where its weights come from, its repulsion, the program that labelled the
sample it was trained on. With --used also those that a piece of work rests on: dynamics and relaxations of many
structures at once (batches), thermostats, constant pressure, error bars, phonons.

Whoever computed your training data deserves a citation too; nothing of that is known here."""
EXAMPLE = """equinet cite runs/quickstart/model.safetensors > model.bib
  equinet cite model.safetensors --used batches npt bussi last-layer > paper.bib"""


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: the file is no model.
    """
    from equinet.citations import (
        FEATURES,
        feature_citations,
        foreign_citation,
        model_citations,
        package_citations,
    )

    parser = verb_parser("cite", DESCRIPTION, EXAMPLE)
    parser.add_argument("model", metavar="MODEL", nargs="?", type=Path, help="a model file (*.safetensors)")
    parser.add_argument(
        "--used", nargs="+", default=[], choices=FEATURES, metavar="WHAT", help=f"of: {', '.join(FEATURES)}"
    )
    parser.add_argument("--plain", action="store_true", help="one line of text for each")
    arguments = parser.parse_args(argv)

    foreign = None
    if arguments.model is None:
        entries = package_citations()
    else:
        from equinet.models import read_header

        header = read_header(arguments.model)
        entries = model_citations(header)
        foreign = foreign_citation(header, entries)
    entries += feature_citations(arguments.used)
    if arguments.plain:
        lines = [f"{entry.plain}  ({entry.why})" for entry in entries]
        lines += [f"{foreign}  (the model's own words)"] if foreign else []
        sys.stdout.write("\n".join(lines) + "\n")
    else:
        blocks = [f"% {entry.why}\n{entry.bibtex()}" for entry in entries]
        blocks += [f"% the model's own words: {foreign}"] if foreign else []
        sys.stdout.write("\n\n".join(blocks) + "\n")
    return 0
