"""From two folders of pictures to a trained generator."""
