"""The one training loop, on accelerate, and what keeps it honest: checkpoints and guards."""
