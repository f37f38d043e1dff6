"""Whether an exception of our own goes through. In tests it does; for people a rule or a step that breaks must not take the others with it."""

ON = False
