"""Attacks that are caught, shown in other ways: which, at what moment, and what becomes of each."""
