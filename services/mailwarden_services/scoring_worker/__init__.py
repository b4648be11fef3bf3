"""Scoring workers: processes that read a message, compute and read its features, and score it, under a clock."""
