"""Other packages' trained potentials as ordinary potentials of ours: same numbers, our file, our speed."""
