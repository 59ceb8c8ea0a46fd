"""``python -m bigfoot`` is the command ``bigfoot``."""

from bigfoot.cli import main

if __name__ == "__main__":
    main()
