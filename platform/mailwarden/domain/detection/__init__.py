"""Detectors' contract, and from their scores to one decision."""
