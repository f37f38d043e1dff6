"""QVL8xx: will the first training step run, and does it train anything?"""
