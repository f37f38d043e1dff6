"""What each release does with a request: one module per package, versions as data. Pure: facts in, plan out."""
