"""QVL95x, QVL96x: where models come from: caches, weight files of every kind, and the hub."""
