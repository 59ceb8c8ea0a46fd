"""Transcribe over HTTP: a server with OpenAI's interface, batches across requests, and limits."""
