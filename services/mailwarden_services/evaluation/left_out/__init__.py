"""What a bundle is worth at a site that it never learned from."""
