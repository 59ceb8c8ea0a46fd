"""Transcripts: one spelling, and characters as ids."""
