"""``equinet lammps``: the plugin with which LAMMPS runs exported models."""

from pathlib import Path

from equinet.cli.options import verb_parser

HELP = "compile the plugin with which LAMMPS runs exported models"
DESCRIPTION = """Compile a plugin for the LAMMPS that is installed; LAMMPS itself is neither built nor changed.

In LAMMPS, with a model written by equinet export --to lammps:

  plugin load FOLDER/equinetplugin.so
  pair_style equinet model.pt
  pair_coeff * * Si O

Units are metal or real. It runs on one MPI process or many, with one thread each unless OMP_NUM_THREADS or LAMMPS's
package omp says otherwise. Several models make a committee: the first drives, and every out_freq steps the deviations
among all are written in DeePMD-kit's columns (pair_style equinet a.pt b.pt out_freq 10 out_file model_devi.out)."""


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: no LAMMPS, no MPI, no compiler, or what the compiler says.
    """
    parser = verb_parser("lammps", DESCRIPTION, "equinet lammps -o plugin")
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, required=True, help="where the libraries go")
    parser.add_argument(
        "--lammps", metavar="FOLDER", type=Path, help="prefix that LAMMPS is installed in (default: this Python's)"
    )
    parser.add_argument(
        "--mpi", metavar="FOLDER", type=Path, help="folder of the mpi.h it was compiled with (default: mpicxx says it)"
    )
    arguments = parser.parse_args(argv)

    from equinet.deploy.lammps.build import build_plugin

    print(build_plugin(arguments.output, arguments.lammps, arguments.mpi))
    return 0
