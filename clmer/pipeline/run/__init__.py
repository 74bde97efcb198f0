"""A run's folder: what training writes into it, and the trained models read out of it."""
