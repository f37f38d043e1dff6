"""One module for each command: ``arguments`` names what it takes, ``run`` does it and returns the exit code."""
