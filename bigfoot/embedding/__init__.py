"""What a model makes of recordings inside, kept for others to use."""
