"""One page of what the tour left in its folder: numbers beside experiment, every figure, every command with its time.

python scripts/tour_page.py FOLDER
"""

import base64
import html
import json
import sys
from pathlib import Path
from typing import Any

import ase.io

from equinet.files import replacing

AMU_PER_A3_IN_G_PER_CM3 = 1.66053907

SOURCES = """Experiment: lattice constant, Okada and Tokumaru, J. Appl. Phys. 56, 314 (1984); elastic constants at
298 K, McSkimin and Andreatch, J. Appl. Phys. 35, 2161 (1964); phonons at 296 K, Nilsson and Nelin, Phys. Rev. B 6, 3777
(1972); the liquid just above its melting point, Waseda and Suzuki, Z. Phys. B 20, 339 (1975). The potential was fitted
to PBE calculations, which differ from experiment too: it stands beside the numbers, they are not judged by it."""

SECTIONS = {
    "Equation of state": ("eos/eos", ["eos/eos.png"]),
    "Elastic constants": ("elastic/elastic", ["elastic/elastic.png"]),
    "Phonons": ("phonons/phonons", ["phonons/phonons.png"]),
    "The melt": ("liquid/rdf", ["liquid/rdf.png", "liquid/msd.png", "liquid/spectrum.png"]),
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1, h2 { font-weight: 600 } img { max-width: 100% } .small { color: #666; font-size: 14px }
pre { background: #f5f5f5; padding: .6rem; overflow-x: auto; font-size: 13px }
table { border-collapse: collapse } td, th { padding: .25rem .9rem; border-bottom: 1px solid #ddd; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums }
"""


def results(folder: Path, name: str) -> Any:
    """What a property measured."""
    return json.loads((folder / f"{name}.json").read_text())["results"]


def numbers(folder: Path) -> list[tuple[str, str, str]]:
    """Quantity, this potential, experiment."""
    crystal = ase.io.read(folder / "si.extxyz")
    stiffness = results(folder, "elastic/elastic")["relaxed_ion"]["stiffness_gpa"]
    fit = results(folder, "eos/eos")["fits"][0]
    phonons = results(folder, "phonons/phonons")
    rdf, msd = results(folder, "liquid/rdf"), results(folder, "liquid/msd")
    return [
        ("lattice constant, Å", f"{crystal.cell.lengths()[0]:.3f}", "5.431"),
        ("bulk modulus, GPa", f"{fit['bulk_modulus_gpa']:.1f}", "97.8"),
        ("C11, GPa", f"{stiffness[0][0]:.1f}", "165.8"),
        ("C12, GPa", f"{stiffness[0][1]:.1f}", "63.9"),
        ("C44, GPa", f"{stiffness[3][3]:.1f}", "79.6"),
        ("optical phonon at Γ, THz", f"{phonons['gamma_thz'][-1]:.2f}", "15.5"),
        *liquid_numbers(rdf, msd, folder),
    ]


def liquid_numbers(rdf: Any, msd: Any, folder: Path) -> list[tuple[str, str, str]]:
    """Of the liquid, at its own temperature, which is above that of the experiment."""
    liquid = ase.io.read(folder / "liquid.extxyz")
    density = liquid.get_masses().sum() / rdf["mean_volume_angstrom3"] * AMU_PER_A3_IN_G_PER_CM3
    total, silicon = rdf["pairs"][0], msd["elements"][0]
    neighbors = number_and_error(total["coordination_number"], total["coordination_number_error"])
    coefficient = silicon["diffusion_m2_per_s"]
    diffusion = "-" if coefficient is None else number_and_error(coefficient, silicon["diffusion_error_m2_per_s"], 1e-9)
    return [
        ("liquid at 2200 K: density, g/cm³", f"{density:.2f}", "2.5 at 1700 K"),
        ("liquid: neighbours in the first shell", neighbors, "6.4 at 1733 K"),
        (f"liquid: {silicon['regime']}, D in 10⁻⁹ m²/s", diffusion, ""),
    ]


def number_and_error(value: float, error: float | None, unit: float = 1.0) -> str:
    """To two digits of the error, where there is one."""
    return f"{value / unit:.2f}" if error is None else f"{value / unit:.2f} ± {error / unit:.2f}"


def page(folder: Path) -> str:
    """The whole page, figures within it."""
    rows = "".join(
        f'<tr><td>{html.escape(name)}</td><td class="number">{ours}</td><td class="number">{theirs}</td></tr>'
        for name, ours, theirs in numbers(folder)
    )
    parts = [
        f"<h1>Silicon, by SevenNet-0 in equinet</h1><p>A potential that others trained, imported, compiled and put "
        f"to work on this machine by <code>bash scripts/tour.sh</code>.</p><table><tr><th></th><th>this potential</th>"
        f'<th>experiment</th></tr>{rows}</table><p class="small">{html.escape(SOURCES)}</p>'
    ]
    for title, (name, figures) in SECTIONS.items():
        said = (folder / f"{name}.json.log").read_text().strip()
        images = "".join(
            f'<img alt="{html.escape(title)}" src="data:image/png;base64,'
            f'{base64.b64encode((folder / figure).read_bytes()).decode()}">'
            for figure in figures
            if (folder / figure).exists()
        )
        parts.append(f"<h2>{html.escape(title)}</h2><pre>{html.escape(said)}</pre>{images}")
    steps = [path.read_text().strip().split("\t") for path in folder.rglob("*.step")]
    commands = "\n".join(
        f"{int(seconds):>5} s  {command}" for seconds, command in sorted(steps, key=lambda s: -int(s[0]))
    )
    parts.append(f"<h2>Commands, and how long they took</h2><pre>{html.escape(commands)}</pre>")
    head = f'<meta charset="utf-8"><title>equinet: a tour</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def main() -> int:
    """Write tour.html, and print the table."""
    folder = Path(sys.argv[1])
    text = page(folder)
    with replacing(folder / "tour.html") as partial:
        partial.write_text(text, encoding="utf-8")
    for name, ours, theirs in numbers(folder):
        print(f"{name:<45} {ours:>15}   experiment {theirs}" if theirs else f"{name:<45} {ours:>15}")
    print(f"tour: {folder / 'tour.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
