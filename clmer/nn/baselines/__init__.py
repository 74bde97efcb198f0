"""Plain models that the main one has to beat."""
