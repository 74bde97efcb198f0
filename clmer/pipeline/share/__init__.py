"""A trained model as a folder in Hugging Face's layout: saved, read, described, uploaded."""
