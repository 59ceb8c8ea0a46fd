"""Task heads: classes, ratings or numbers of a whole utterance, from the frames of the encoder."""
