"""Styles at work: numpy in, numpy out, and never torch."""
