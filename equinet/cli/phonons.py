"""``equinet phonons``: bands, density of states, thermodynamics; of a molecule, its normal modes."""

import argparse
from typing import TYPE_CHECKING, Any

from equinet.cli.options import given, positive_integer, refuse
from equinet.cli.property_verb import begin, property_parser, settings_of

if TYPE_CHECKING:
    from ase import Atoms

    from equinet.simulate.properties.normal_modes import NormalModes
    from equinet.simulate.properties.phonons.result import Phonons

HELP = "phonon bands, density of states and thermodynamics; of a molecule, its normal modes"


def main(argv: list[str]) -> int:
    """Run the verb.

    Raises:
        InputError: a model, a structure or an output that cannot be; a structure that is not relaxed.
    """
    arguments = _parser().parse_args(argv)
    if arguments.supercell:
        refuse(arguments, ["max_atoms"], "a --supercell that is given does not grow; leave one of them out")

    from equinet.errors import InputError
    from equinet.simulate.properties import starting_structure

    calculator, atoms = begin(arguments)
    atoms.set_constraint()  # atoms held fixed are no minimum, and vibrate
    crystal = bool(atoms.pbc.any())
    if not crystal and (arguments.supercell or arguments.path or arguments.allow_stress):
        raise InputError(
            f"{arguments.structure} has no periodic direction: its normal modes need no --supercell, --path or "
            "--allow-stress; leave them out"
        )
    if crystal:
        from equinet.simulate.properties.phonons.supercell import check_tension, require_phonopy

        require_phonopy()
    source, cell_free = str(arguments.structure), crystal and not arguments.allow_stress
    start = starting_structure(atoms, calculator, arguments.relax, cell_free and bool(atoms.pbc.all()), source)
    if cell_free and not atoms.pbc.all():
        check_tension(start, source)
    return (_crystal if crystal else _molecule)(arguments, calculator, start)


def _parser() -> argparse.ArgumentParser:
    parser = property_parser(
        "phonons",
        HELP[0].upper() + HELP[1:] + ".",
        "equinet phonons model.safetensors silicon.cif --relax cell -o phonons",
    )
    parser.add_argument(
        "--method",
        choices=("displacements", "hessian"),
        help="finite displacements, or the analytic Hessian compared with them (default: displacements; of a "
        "molecule the Hessian)",
    )
    parser.add_argument(
        "--displacement", type=float, default=0.01, metavar="X", help="of one atom at a time, A (default: 0.01)"
    )
    parser.add_argument(
        "--supercell",
        type=positive_integer,
        nargs=3,
        metavar="N",
        help="repetitions of the given cell (default: grown until no band changes by 0.05 THz)",
    )
    parser.add_argument(
        "--max-atoms",
        type=positive_integer,
        metavar="N",
        help="of a supercell that is grown (default: 1000)",
    )
    parser.add_argument("--path", metavar="POINTS", help="of the bands, such as GXWKGL (default: the lattice's own)")
    parser.add_argument(
        "--symprec", type=float, default=1e-5, metavar="X", help="tolerance of symmetry, A (default: 1e-5)"
    )
    parser.add_argument(
        "--allow-stress", action="store_true", help="take the cell as it is: phonons at a volume of your choice"
    )
    return parser


def _crystal(arguments: argparse.Namespace, calculator: Any, start: "Atoms") -> int:
    from equinet.cli.progress import progress
    from equinet.simulate.properties.phonons.calculation import phonons
    from equinet.simulate.properties.phonons.report import write_phonons
    from equinet.simulate.properties.phonons.result import PhononSettings

    settings = PhononSettings(
        method=arguments.method or "displacements",
        displacement_angstrom=arguments.displacement,
        supercell=tuple(arguments.supercell) if arguments.supercell else None,
        path=arguments.path,
        symmetry_tolerance_angstrom=arguments.symprec,
        **given(arguments, ["max_atoms"]),
    )
    with progress("atoms of the supercell", None) as done:
        found = phonons(start, calculator, settings, done)
    title = f"{found.formula}, {found.space_group}: {arguments.model.stem}"
    paths = write_phonons(arguments.output, found, settings_of(arguments, vars(settings)), title)
    print(_crystal_text(found))
    print(f"written: {', '.join(map(str, paths))}")
    return 0


def _crystal_text(found: "Phonons") -> str:
    last = found.supercells[-1]
    grown = " -> ".join(str(step.atoms) for step in found.supercells)
    change = "" if last.band_change_thz is None else f"; the bands changed by {last.band_change_thz:.3f} THz at last"
    rule = found.acoustic_sum_rule
    lines = [
        f"{found.formula}, {found.space_group}: supercells of {grown} atoms{change}",
        f"acoustic sum rule before symmetrising: residual {rule.residual_ev_per_angstrom2:.1e} eV/A^2, "
        f"{abs(rule.gamma_thz).max():.1e} THz at Gamma",
        f"at Gamma: {_with_multiplicities(found.gamma_thz)} THz",
    ]
    if found.hessian_comparison is not None:
        compared = found.hessian_comparison
        lines.append(
            f"Hessian against displacements: frequencies within {compared.largest_frequency_difference_thz:.1e} THz, "
            f"force constants within {compared.largest_force_constant_difference_ev_per_angstrom2:.1e} eV/A^2"
        )
    if found.thermal is not None:
        at = int(abs(found.thermal.temperature_k - 300).argmin())
        lines.append(
            f"zero-point energy {found.thermal.zero_point_energy_ev_per_atom:.4f} eV/atom; at 300 K "
            f"F = {found.thermal.free_energy_ev_per_atom[at]:.4f} eV/atom, "
            f"S = {found.thermal.entropy_j_per_k_mol[at]:.2f} and Cv = "
            f"{found.thermal.heat_capacity_j_per_k_mol[at]:.2f} J/K for a mole of atoms"
        )
    lines.append(f"imaginary modes: {len(found.imaginary) or 'none'}")
    return "\n".join(lines)


def _with_multiplicities(frequencies: Any) -> str:
    """Frequencies as text; those equal within 0.005 together."""
    groups: list[list[float]] = []
    for frequency in frequencies.tolist():
        if groups and frequency - groups[-1][0] < 0.005:
            groups[-1].append(frequency)
        else:
            groups.append([frequency])
    return ", ".join(
        f"{abs(group[0]) if abs(group[0]) < 5e-4 else group[0]:.3f}" + (f" ({len(group)})" if len(group) > 1 else "")
        for group in groups
    )


def _molecule(arguments: argparse.Namespace, calculator: Any, start: "Atoms") -> int:
    from equinet.simulate.properties.normal_modes import normal_modes, write_normal_modes

    found = normal_modes(start, calculator, arguments.method or "hessian", arguments.displacement)
    title = f"{found.formula}: {arguments.model.stem}"
    paths = write_normal_modes(arguments.output, start, found, settings_of(arguments), title)
    print(_molecule_text(found))
    print(f"written: {', '.join(map(str, paths))}")
    return 0


def _molecule_text(found: "NormalModes") -> str:
    shape = "linear" if found.linear else "not linear"
    lines = [
        f"{found.formula}, {shape}: {len(found.frequencies_thz)} modes, cm^-1:",
        "  " + " ".join(f"{frequency:.1f}" for frequency in found.frequencies_inverse_cm),
        f"rigid motions, taken out: within {abs(found.rigid_inverse_cm).max():.2g} cm^-1 of zero",
        f"zero-point energy {found.zero_point_energy_ev:.4f} eV",
    ]
    if found.largest_difference_inverse_cm is not None:
        lines.append(f"Hessian against displacements: within {found.largest_difference_inverse_cm:.2g} cm^-1")
    lines.append(f"imaginary modes: {len(found.imaginary_inverse_cm) or 'none'}")
    return "\n".join(lines)
