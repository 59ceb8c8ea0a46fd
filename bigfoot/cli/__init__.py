"""``bigfoot``: compress, evaluate, inspect, benchmark, compare, transcribe and convert models; check a machine.

One file per command. Heavy packages are imported inside the commands: ``--help`` must not wait for torch.
"""

from bigfoot.cli.application import app, main

__all__ = ["app", "main"]
