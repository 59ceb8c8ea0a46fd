"""From a teacher to a table: data, teacher, student, distill, fine-tune, evaluate, report.

    python recipes/compress.py --config demo_config.yaml [key=value ...] [--until STAGE]

The steps stand in the YAML and in ``bigfoot.pipeline``; this file only starts them.
"""

import sys

from bigfoot.cli import main

if __name__ == "__main__":
    main(["compress", *sys.argv[1:]])
