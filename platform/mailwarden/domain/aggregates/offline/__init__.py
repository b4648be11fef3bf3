"""Values and states of many keys at once, from rows of their events."""
