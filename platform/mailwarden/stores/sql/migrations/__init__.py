"""The schema's history: one file a step in `versions`; a step that was released is never edited."""
