"""Feast's extension points: data source, offline store, batch engine, and the objects that views become."""
