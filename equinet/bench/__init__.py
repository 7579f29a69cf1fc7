"""What a step of dynamics costs on this machine, with our models and with other packages'.

Nothing is imported here: :mod:`equinet.bench.side` runs in the environments of other packages too.
"""
