"""The face of the gateway: the library, the command line, and the one place that wires the roles."""
