"""Mailwarden: a feature-store-centric platform that detects e-mail attacks."""

__version__ = "0.1.0"
