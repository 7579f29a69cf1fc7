"""``equinet test``: errors of a model on labelled structures."""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from equinet.cli.options import (
    add_batch_size,
    add_device_and_dtype,
    add_modal,
    add_model,
    positive_integer,
    verb_parser,
)
from equinet.errors import DataWarning, InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from equinet.data import LabelKeys, Record
    from equinet.models import Potential
    from equinet.training.evaluation import Evaluation
    from equinet.training.report import DataSet
    from equinet.uncertainty import Uncertainty, Verdict

HELP = "measure a model's errors on labelled structures"
DESCRIPTION = """Measure a model's errors on labelled structures: energies, forces, stresses, with 95 % intervals
(bootstrap over frames). With a model of one level of theory of several (--modal), frames whose info names another
(under --modal-key) are left out.

Each file is a data set, named by its stem; with several, errors are given for each and for all together. --report makes
a folder with index.html, one page that needs nothing else, its figures as PNG, errors.json, table.tex and table.md for
a paper, and worst.extxyz, the worst structures to look at. In the folder of the model, equinet info --card finds its
errors. --uncertainty, a file of equinet uncertainty for this model (or for a committee that it is one of), is judged
by the errors: coverage, CRPS, reliability, what is left after rejection, beside error bars that cost nothing."""
EXAMPLE = """equinet test model.safetensors test.extxyz --json errors.json
  equinet test model.safetensors hot.extxyz --uncertainty uncertainty.safetensors --report report
  equinet test runs/mine/model.safetensors test.extxyz surfaces.extxyz --by group --report runs/mine/report"""

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
    parser = verb_parser("test", DESCRIPTION, EXAMPLE)
    add_model(parser)
    parser.add_argument(
        "data", metavar="DATA", nargs="+", type=Path, help="labelled structures, in any format ASE reads"
    )
    parser.add_argument("--report", metavar="DIR", type=Path, help="write a report into this folder")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all errors and intervals")
    parser.add_argument("--by", metavar="INFO_KEY", help="errors for each value of this info key too")
    parser.add_argument(
        "--worst",
        metavar="N",
        type=positive_integer,
        default=20,
        help="structures in the report, by force error and by energy error each (default: 20)",
    )
    for label in ("energy", "forces", "stress", "virial"):
        parser.add_argument(
            f"--keys.{label}", dest=label, metavar="KEY", help=f"where the {label} label is (default: found)"
        )
    parser.add_argument("--uncertainty", metavar="FILE", type=Path, help="error bars to judge")
    add_batch_size(parser)
    add_modal(parser)
    parser.add_argument("--modal-key", default="modal", metavar="KEY", help="info key of levels (default: modal)")
    add_device_and_dtype(parser)
    arguments = parser.parse_args(argv)

    from equinet.files import check_output, check_outputs

    if arguments.json:
        check_output(arguments.json)
    worst = arguments.report and arguments.report / "worst.extxyz"  # what a report has that is data, too
    check_outputs(
        {"--json": arguments.json, "--report": worst}, [arguments.model, arguments.uncertainty, *arguments.data]
    )

    from equinet.data import LabelKeys
    from equinet.models import load_model, one_modal
    from equinet.training.report import data_set_names

    names = data_set_names(arguments.data)
    potential = one_modal(load_model(arguments.model, arguments.device, arguments.dtype), arguments.modal)
    uncertainty = None
    if arguments.uncertainty is not None:
        from equinet.uncertainty import load_uncertainty

        uncertainty = load_uncertainty(arguments.uncertainty, potential.requires_grad_(False))
    keys = LabelKeys(arguments.energy, arguments.forces, arguments.stress, arguments.virial)
    data_sets, together = _test(potential, dict(zip(names, arguments.data, strict=True)), keys, arguments)
    if len(data_sets) > 1:
        for data_set in data_sets:
            print_tables(data_set.evaluation, f"{arguments.model} on {data_set.reading.path}")
        print_tables(together, f"{arguments.model} on all {len(data_sets)} data sets")
    else:
        print_tables(together, f"{arguments.model} on {arguments.data[0]}")
    verdicts = {} if uncertainty is None else _judge(uncertainty, data_sets, arguments.batch_size)
    if arguments.json or arguments.report:
        _write(potential, data_sets, together, verdicts, arguments)
    return 0


def _judge(uncertainty: "Uncertainty", data_sets: "list[DataSet]", batch_size: int) -> "dict[str, Verdict]":
    """Error bars of each data set, printed."""
    from equinet.cli.progress import progress
    from equinet.uncertainty import judge
    from equinet.uncertainty.section import COLUMNS, support_lines, tables

    verdicts = {}
    console = _console()
    for data_set in data_sets:
        records = [frame.record for frame in data_set.frames]
        with progress(f"error bars of {data_set.name}", len(records)) as done:
            verdict = judge(uncertainty, records, batch_size, done)
        for heading, rows in tables(data_set.name, verdict).items():
            printed = _table(f"error bar, {verdict.kind}", *COLUMNS)
            for row in rows:
                printed.add_row(*row)
            console.print(heading, soft_wrap=True)
            console.print(printed)
        for line in support_lines(data_set.name, verdict):
            console.print(line, soft_wrap=True)
        verdicts[data_set.name] = verdict
    return verdicts


def _test(
    potential: "Potential", files: dict[str, Path], keys: "LabelKeys", arguments: argparse.Namespace
) -> "tuple[list[DataSet], Evaluation]":
    """Read, predict and compare each data set."""
    from equinet.cli.progress import progress
    from equinet.data import read_records
    from equinet.files import content_sha256, make_folder
    from equinet.training.evaluation import predict_records
    from equinet.training.report import compare_data_sets

    read = {name: read_records(path, keys) for name, path in files.items()}
    for records in read.values():
        if records.report.other_units:
            _console().print(
                f"{records.report.path}: units: {records.report.other_units}", soft_wrap=True, markup=False
            )
    if arguments.report:
        make_folder(arguments.report)  # before the work starts
    predicted = []
    for name, records in read.items():
        path = files[name]
        tested = _of_modal(records.records, potential.provenance.get("modal"), arguments.modal_key, str(path))
        with progress(f"testing {name}", len(tested)) as done:
            frames = predict_records(potential, tested, arguments.batch_size, done)
        digest = content_sha256(path) if path.exists() else ""
        predicted.append((name, digest, records.report, frames))
    return compare_data_sets(predicted, arguments.by)


def _write(
    potential: "Potential",
    data_sets: "list[DataSet]",
    together: "Evaluation",
    verdicts: "dict[str, Verdict]",
    arguments: argparse.Namespace,
) -> None:
    """The errors as JSON, and the report."""
    from datetime import datetime

    from equinet.files import replacing
    from equinet.models.facts import describe
    from equinet.training.provenance import versions
    from equinet.training.report import Results, write_test_report
    from equinet.training.run_directory import RunDirectory, read_metrics

    date = datetime.now().astimezone().isoformat(timespec="seconds")
    model = describe(potential, arguments.model)
    judged = {name: verdict.to_json() for name, verdict in verdicts.items()}
    results = Results(model, data_sets, together, arguments.by, date, versions(), judged)
    if arguments.json:
        with replacing(arguments.json) as partial:
            partial.write_text(json.dumps(results.to_json(), indent=2) + "\n", encoding="utf-8")
    if arguments.report:
        run = RunDirectory(arguments.model.parent)
        history = read_metrics(run.metrics) if run.metrics.is_file() else []
        sections = []
        if verdicts:
            from equinet.uncertainty.section import report_section

            sections.append(report_section(verdicts, arguments.report))
        page = write_test_report(arguments.report, results, potential, arguments.worst, history, sections)
        sys.stdout.write(f"report: {page}\n")


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
    partial = [f"{count} with {name}" for name, count in evaluation.counts.items() if 0 < count < evaluation.frames]
    labels = f" ({', '.join(partial)})" if partial else ""
    tables = {f"{title}: {evaluation.frames} frames{labels}": _errors(evaluation)}
    if len(evaluation.per_element) > 1:
        tables["force components by element, meV/A"] = _elements(evaluation)
    if evaluation.groups:
        tables["MAE by group"] = _groups(evaluation)
    console = _console()
    for heading, table in tables.items():
        console.print(heading, soft_wrap=True)
        console.print(table)


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False)


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
    return f"{value:.4g}" if abs(value) < 9999.5 else f"{value:.0f}"
