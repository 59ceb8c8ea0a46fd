"""Tasks on text, alone or fused with speech."""
