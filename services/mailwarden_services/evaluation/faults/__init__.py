"""What a bundle holds back while one of its detectors is away, fires on everything, or says nothing."""
