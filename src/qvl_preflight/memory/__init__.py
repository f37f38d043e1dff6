"""How many bytes a call takes, and where: exact for weights whose headers are there, lower bounds for what is not fully known."""
