"""Results of a run as rows, tables and figures, and comparisons of runs."""
