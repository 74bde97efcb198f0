"""Your own recordings: `manifest.csv` and the files it names."""
