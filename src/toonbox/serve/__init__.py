"""The server: a JSON API for pictures and for jobs, and the page."""
