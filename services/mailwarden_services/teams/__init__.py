"""What teams do with views and detectors: lay one out, version it, see who reads it, what a change would cost."""
