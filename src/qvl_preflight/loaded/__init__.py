"""A model that is loaded: where its weights really are, what holds them, what trains. Reads the object; imports nothing of its packages."""
