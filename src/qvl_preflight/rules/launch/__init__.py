"""Several processes, several GPUs, and how a job spreads a model over them."""
