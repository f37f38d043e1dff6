"""QVL3xx: the quantised checkpoint, the packages that load it, the kernel that will hold it."""
