"""Where a child process finds packages: in the repository, and wherever this process was pointed to."""

import os
from pathlib import Path


def search_path(root: Path) -> str:
    """Put the repository before what ``PYTHONPATH`` holds, so that packages that come by it are not lost."""
    return os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
