"""``equinet test``: errors of a model on labelled structures."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from equinet.cli.options import add_batch_size, add_device_and_dtype, add_modal, add_model, verb_parser
from equinet.errors import DataWarning, InputError

if TYPE_CHECKING:
    from rich.table import Table

    from equinet.data import Record
    from equinet.training.evaluation import Evaluation

HELP = "measure a model's errors on labelled structures"
DESCRIPTION = """Measure a model's errors on labelled structures: energies, forces, stresses, with 95 % intervals
(bootstrap over frames). With a model of one level of theory of several (--modal), frames whose info names another
(under --modal-key) are left out."""

ROWS = {
    "energy per atom, meV/atom": "energy_{}_mev_per_atom",
    "energy, meV": "energy_{}_mev",
    "force components, meV/A": "force_{}_mev_per_angstrom",
    "force vectors, meV/A": "force_vector_{}_mev_per_angstrom",
    "stress components, GPa": "stress_{}_gpa",
}
"""What the table shows, and the keys of the evaluation it comes from."""
GROUP_ROWS = ("energy per atom, meV/atom", "force components, meV/A", "stress components, GPa")


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: a model or data that cannot be used; no label to compare with.
    """
    parser = verb_parser("test", DESCRIPTION, "equinet test model.safetensors test.extxyz --json errors.json")
    add_model(parser)
    parser.add_argument("data", metavar="DATA", type=Path, help="labelled structures, in any format ASE reads")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all errors and intervals")
    parser.add_argument("--by", metavar="INFO_KEY", help="errors for each value of this info key too")
    for label in ("energy", "forces", "stress", "virial"):
        parser.add_argument(
            f"--keys.{label}", dest=label, metavar="KEY", help=f"where the {label} label is (default: found)"
        )
    add_batch_size(parser)
    add_modal(parser)
    parser.add_argument("--modal-key", default="modal", metavar="KEY", help="info key of levels (default: modal)")
    add_device_and_dtype(parser)
    arguments = parser.parse_args(argv)

    from equinet.files import check_output, replacing

    if arguments.json:
        check_output(arguments.json)

    from equinet.cli.progress import progress
    from equinet.data import LabelKeys, read_records
    from equinet.models import load_model, one_modal
    from equinet.training.evaluation import evaluate

    potential = one_modal(load_model(arguments.model, arguments.device, arguments.dtype), arguments.modal)
    keys = LabelKeys(arguments.energy, arguments.forces, arguments.stress, arguments.virial)
    records = read_records(arguments.data, keys)
    tested = _of_modal(records.records, potential.provenance.get("modal"), arguments.modal_key, str(arguments.data))
    with progress("testing", len(tested)) as done:
        evaluation = evaluate(potential, tested, arguments.batch_size, arguments.by, done)
    print_tables(evaluation, f"{arguments.model} on {arguments.data}")
    if arguments.json:
        facts = {
            "model": str(arguments.model),
            "data": records.report.to_dict(),
            "dtype": str(potential.dtype).removeprefix("torch."),
        }
        with replacing(arguments.json) as partial:
            partial.write_text(json.dumps(evaluation.to_json() | facts, indent=2) + "\n", encoding="utf-8")
    return 0


def _of_modal(records: "Sequence[Record]", modal: str | None, key: str, path: str) -> "list[Record]":
    """Those records that name no other level of theory than the model's.

    Raises:
        InputError: there are none.
    """
    kept = [record for record in records if modal is None or str(record.info.get(key, modal)) == modal]
    if not kept:
        raise InputError(f"{path}: every frame's modal is another than the model's, {modal}")
    if len(kept) < len(records):
        warnings.warn(
            f"{path}: {len(records) - len(kept)} frames of other levels than {modal} are left out", DataWarning
        )
    return kept


def print_tables(evaluation: "Evaluation", title: str) -> None:
    """Print all errors; forces of each element; the main errors of each group."""
    import sys

    from rich.console import Console

    tables = {f"{title}: {evaluation.frames} frames": _errors(evaluation)}
    if len(evaluation.per_element) > 1:
        tables["force components by element, meV/A"] = _elements(evaluation)
    if evaluation.groups:
        tables["MAE by group"] = _groups(evaluation)
    console = Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False)
    for heading, table in tables.items():
        console.print(heading, soft_wrap=True)
        console.print(table)


def _table(*columns: str) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE)
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _errors(evaluation: "Evaluation") -> "Table":
    table = _table("", "MAE", "95 %", "RMSE", "95 %")
    for name, key in ROWS.items():
        if key.format("mae") in evaluation.errors:
            cells = []
            for measure in ("mae", "rmse"):
                cells.append(_number(evaluation.errors[key.format(measure)]))
                interval = evaluation.intervals.get(key.format(measure))
                cells.append("" if interval is None else f"{_number(interval[0])} .. {_number(interval[1])}")
            table.add_row(name, *cells)
    if "force_rms_mev_per_angstrom" in evaluation.errors:
        table.add_row("force labels, rms, meV/A", "", "", _number(evaluation.errors["force_rms_mev_per_angstrom"]))
    return table


def _elements(evaluation: "Evaluation") -> "Table":
    table = _table("", "MAE", "RMSE", "labels, rms")
    for element, errors in evaluation.per_element.items():
        keys = ("force_mae_mev_per_angstrom", "force_rmse_mev_per_angstrom", "force_rms_mev_per_angstrom")
        table.add_row(element, *(_number(errors[key]) for key in keys))
    return table


def _groups(evaluation: "Evaluation") -> "Table":
    shown = [name for name in GROUP_ROWS if ROWS[name].format("mae") in evaluation.errors]
    table = _table("", "frames", *shown)
    for name, group in evaluation.groups.items():
        errors = (group.errors.get(ROWS[row].format("mae")) for row in shown)
        table.add_row(name, str(group.frames), *("" if error is None else _number(error) for error in errors))
    return table


def _number(value: float) -> str:
    """Four significant digits, without exponents where they are not needed."""
    return f"{value:.4g}"
