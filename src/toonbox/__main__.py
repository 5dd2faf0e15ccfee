"""`python -m toonbox` is the same as `toonbox`."""

from toonbox.cli.main import main

if __name__ == "__main__":
    main()
