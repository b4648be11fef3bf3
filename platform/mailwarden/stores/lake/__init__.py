"""Tables of the lake: the event log, raw mail and logged vectors, on Delta."""
