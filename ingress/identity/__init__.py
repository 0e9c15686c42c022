"""Whom a token speaks for: its parts, the keys that check it, where they come from."""
