"""What is in a data set, as one page to look at: signals, labels, faces, losses, protocols."""

from clmer.report.inspection.page import inspect

__all__ = ["inspect"]
