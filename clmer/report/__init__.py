"""What a run leaves behind, and runs joined into one page: `python -m clmer.report runs`."""

from clmer.report.results import (
    CONTROLS,
    DIGITS,
    DRAWS,
    SHUFFLED_WARNING,
    build_results,
    confusion_figure,
    confusion_png,
    predictions_csv,
    print_table,
    results_json,
    table,
    write_report,
)

__all__ = [
    "CONTROLS",
    "DIGITS",
    "DRAWS",
    "SHUFFLED_WARNING",
    "build_results",
    "confusion_figure",
    "confusion_png",
    "predictions_csv",
    "print_table",
    "results_json",
    "table",
    "write_report",
]
