"""Poolings, one file each."""
