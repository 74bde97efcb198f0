"""Scores of predictions, their intervals, tests between models, and what a run reports."""
