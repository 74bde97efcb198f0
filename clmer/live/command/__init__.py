"""`clmer live`: LSL streams in, windows to a terminal, CSV files and an LSL stream.

`run.live` is the command, `loop.Session` its loop, `watch.Watch` tells what happens beside the
windows; `table.Table` and `screen.Screen` are where both go.
"""
