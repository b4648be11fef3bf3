"""Packed state in Redis: keys, reads of whole vectors, and writers that fold events in."""
