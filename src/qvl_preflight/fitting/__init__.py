"""Does a model fit, on which devices, and what would make it fit: ``qvl-preflight fit``. Everything is asked of one estimate, again and again."""
