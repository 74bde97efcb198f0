"""What a trained model uses: how its score falls where a part of the signals says nothing."""
