"""The explorer: one page in which every model runs in the browser, from one file."""
