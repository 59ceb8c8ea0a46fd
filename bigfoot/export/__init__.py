"""From a model folder to a file that other runtimes run, compared with the model before it is called done."""
