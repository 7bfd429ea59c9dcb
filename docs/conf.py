"""Configuration of the documentation, for Sphinx."""

from genmnist.version import __version__

project = "genmnist"
author = copyright = "the genmnist developers"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_use_rtype = False
html_theme = "furo"
html_title = "genmnist"
exclude_patterns = ["_build"]
