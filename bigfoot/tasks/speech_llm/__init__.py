"""Training and evaluation of speech LLMs: turns of dialogues become prompts with answers."""
