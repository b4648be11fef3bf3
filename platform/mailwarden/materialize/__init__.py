"""Materialisation: event log and raw mail to offline Parquet, and states into the online store."""

from mailwarden.materialize.job import MaterializeReport, ViewReport, materialize

__all__ = ["MaterializeReport", "ViewReport", "materialize"]
