"""Evaluate models: error rates with intervals, and batch invariance."""
