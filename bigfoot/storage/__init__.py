"""Writing to disk: what may be replaced, whole or not at all, and one writer at a time."""
