"""The tests of the page; a package, so that fixtures of this scope end before others begin."""
