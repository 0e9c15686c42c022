"""Kinds of service discovery whose instances come and go at run time."""
