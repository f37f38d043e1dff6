"""QVL9xx: the call itself, and the files of its checkpoint."""
