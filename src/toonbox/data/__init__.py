"""Folders of photos and cartoons, made into seeded crops."""
