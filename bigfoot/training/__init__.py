"""The one training loop, on accelerate, with checkpoints and guards."""
