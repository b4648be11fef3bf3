"""What reports are made of: grids of words, pictures, files that are there whole or not at all."""
