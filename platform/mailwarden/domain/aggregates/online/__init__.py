"""States of one key at a time: folded, packed, read."""
