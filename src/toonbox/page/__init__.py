"""The page: a static site that draws in the browser, and serves `toonbox serve` as its face."""
