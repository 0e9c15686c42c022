"""Discovery of instances."""
