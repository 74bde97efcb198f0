"""Defaults of the live commands' options, without the sessions that take them."""

#: Where the page of `clmer live --page` is served: to this machine alone.
PAGE_ADDRESS = "127.0.0.1:5006"
#: In the place of a signal type: all channels of a recording, in one stream.
ALL_CHANNELS = "signals"
#: Names of the streams that `clmer play` and `clmer video` send.
SIGNAL_STREAM, FACE_STREAM = "clmer-signals", "clmer-face"
