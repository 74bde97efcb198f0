"""Exit codes that every command shares."""

#: An input or option cannot be used; the message says why.
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130
#: Standard output is a pipe that nobody reads any more (what a shell reports of SIGPIPE).
EXIT_NO_READER = 141
