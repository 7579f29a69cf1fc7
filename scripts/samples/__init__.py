"""The parts of ``scripts/make_samples.py``: what it computes, and with which code."""
