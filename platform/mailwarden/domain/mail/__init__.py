"""What one message is and what the platform keeps of it."""
