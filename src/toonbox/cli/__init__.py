"""The command line: main.py and one small file per command."""
