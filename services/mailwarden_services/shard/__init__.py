"""A process of `serve` that numbers some tenants' mail, and answers whoever asks."""
