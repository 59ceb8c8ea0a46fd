"""Methods beside each other: a plan of runs, the runs, and one table of what came of them."""
