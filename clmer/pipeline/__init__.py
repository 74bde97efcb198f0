"""What a run is: its configuration, tokens, stages, training loop, folder and trained models."""
