"""Properties of materials from any ASE calculator: a module each, with a result that knows its units, and a figure.

The functions take a structure as it is; ``starting_structure`` relaxes it first, or says that it needs to be.
"""

from equinet.simulate.properties.start import starting_structure as starting_structure
