"""Units: eV, Angstrom, amu, eV/Angstrom^3 inside; these factors convert for people to read."""

EV_PER_A3_IN_GPA = 160.21766339999996
"""1 eV/A^3 in GPa (CODATA 2018: e = 1.602176634e-19 C, exact)."""

MEV_PER_EV = 1000.0

BYTES_PER_MIB = 2**20
