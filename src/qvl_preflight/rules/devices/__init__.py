"""QVL2xx: which GPUs this process sees, and which of them it asks for."""
