"""What a run found, as rows, tables, pictures and comparisons of runs."""
