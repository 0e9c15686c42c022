"""The shape of every configuration file: one model for each kind of entry.

Times are seconds, sizes are bytes (``1MiB`` is read as 1048576). Unknown keys are errors. Models
are immutable, so that one snapshot can serve requests while the next one is being made.
"""
