"""Encoders of other kinds behind one small protocol: audio in, hidden states and a frame mask out."""
