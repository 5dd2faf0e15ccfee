"""What a picture is to the eye of a cartoonist: its surface, its structure, its texture."""
