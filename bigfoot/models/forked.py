"""What a forked child does with a loaded model: it computes on one thread."""

from __future__ import annotations

import os

import torch


def compute_on_one_thread() -> None:
    """Have this process compute on one thread, as the workers of PyTorch's loaders do.

    The threads of OpenMP do not survive a fork: in the child, a parallel region would wait for them forever.
    """
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=compute_on_one_thread)
