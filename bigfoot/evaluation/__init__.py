"""Judging models: error rates with intervals, and whether padding changes an answer."""
