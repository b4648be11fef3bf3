"""Spark over the event log: fold rows, the point-in-time read, and states of all keys."""
