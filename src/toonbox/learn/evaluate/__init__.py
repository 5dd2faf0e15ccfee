"""Evaluate styles: how cartoon-like their outputs are, and what they preserve of the photo."""
