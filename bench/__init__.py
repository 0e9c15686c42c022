"""Benchmarks: the gateway and its peers, measured in turns on one machine (``python -m bench``)."""
