"""A live camera, or a film shown like one: from its pictures to a window and a file."""
