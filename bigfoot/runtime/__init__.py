"""Text out of audio with a deployed model: no torch, no transformers, no lhotse."""
