"""QVL1xx: can this process use a GPU at all, and if not, why?"""
