"""What is in a data set, as one page to look at: `clmer inspect`.

The page holds everything itself, pictures included, and opens without a server. It can show faces'
outlines and licence-bound data: it says so at the top, and the default name is git-ignored.
"""

from clmer.report.inspection.page import inspect

__all__ = ["inspect"]
