"""``bigfoot``: compress, evaluate, look into, benchmark, compare, transcribe and convert models; look at a machine.

One file a command. Everything heavy is imported inside the commands: ``--help`` must not wait for torch.
"""

from bigfoot.cli.application import app, main

__all__ = ["app", "main"]
