"""How each kind of step is run."""
