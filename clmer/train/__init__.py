"""The main job, `python -m clmer.train`: prepare, split, train, evaluate, report."""
