"""The options of each command, one module per command; nothing of what the command does.

A module has `describe`, which adds the options to a parser. `INTERRUPTED` in it is said after
Ctrl-C; with `TAKES_COMMAND` the command gets its words as they were typed, and with `TAKES_MORE`
also what `read_words` makes of those that are no options of its own. `more_flags` names flags that
errors of the command may name beside its own.

These modules import nothing that takes long: `--help` and a slip in an option are answered at once.
What a command does is the module of the same name in `clmer.cli`.
"""
