"""Training: module, data, losses, metrics, averaging, checkpoints; evaluation and report."""
