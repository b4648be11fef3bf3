"""Slow signals: what a process of its own finds out about accepted mail, and how it comes back to be numbered."""
