"""Model folders and foreign checkpoints, read into ``BigfootForCTC`` and written back, one module a source."""
