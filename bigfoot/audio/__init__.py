"""Audio files and samples: reading, pauses and chunking, on numpy, soundfile and soxr alone."""
