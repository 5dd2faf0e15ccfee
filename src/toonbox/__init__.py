"""Photographs into cartoons, with a small white-box GAN."""
