"""A task head on the encoder: data, split by speaker, train, evaluate against floors, report.

    python recipes/tasks.py --config tasks/fsdd_digit.yaml [key=value ...] [--seeds 1,2,3] [--folds 5]

The steps stand in the YAML and in ``bigfoot.pipeline``; this file only starts them.
"""

import sys

from bigfoot.cli import main

if __name__ == "__main__":
    main(["train-task", *sys.argv[1:]])
