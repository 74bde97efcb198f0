"""The two stages of a split, and the loop over epochs that both share."""
