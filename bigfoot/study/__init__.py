"""Comparison of methods: a plan of runs, the runs, and one table of their results."""
