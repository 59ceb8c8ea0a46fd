"""Export a model folder to a file for other runtimes, and compare it with the model before it is written."""
