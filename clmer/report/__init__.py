"""What a run leaves behind, and runs joined into one page: `python -m clmer.report runs`."""

from clmer.report.results import (
    CONTROLS,
    SHUFFLED_WARNING,
    build_results,
    confusion_figure,
    confusion_png,
    interval_method,
    predictions_csv,
    print_table,
    results_json,
    table,
    test_line,
    write_report,
)

__all__ = [
    "CONTROLS",
    "SHUFFLED_WARNING",
    "build_results",
    "confusion_figure",
    "confusion_png",
    "interval_method",
    "predictions_csv",
    "print_table",
    "results_json",
    "table",
    "test_line",
    "write_report",
]
