"""A page on which models are compared by ear and eye: recordings of a microphone, uploads, and a report's worst."""
