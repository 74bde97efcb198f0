"""Options of a run that ends in seconds."""

SMALL = ["--repeats", "1", "--folds", "3", "--threads", "1", "--width", "4", "--dim", "8"]
SMALL += ["--heads", "2", "--cross-layers", "1", "--memory-layers", "1", "--single-layers", "1"]
SMALL += ["--epochs-contrastive", "3", "--epochs-fusion", "3"]
