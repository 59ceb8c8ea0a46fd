"""``python -m bigfoot`` is the command ``bigfoot``."""

import sys

from bigfoot.cli import main

if __name__ == "__main__":
    sys.exit(main())
