"""Exit codes that every command shares."""

#: An input or option cannot be used; the message says why.
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130
