"""The LAMMPS plugin: its sources, and what builds it against an installed LAMMPS."""
