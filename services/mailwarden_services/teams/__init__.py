"""What teams do with feature views: lay one out, version it, see who reads it, and what a change would cost."""
