"""What detectors over gradient-boosted trees share: columns and their words, proof, trees, reasons. No detector itself:
a folder whose name begins with an underscore is none."""
