"""Behavioural features as data: definitions, windows, packed states and how both are read."""
