"""Configuration of the documentation, for Sphinx."""

import shutil
import sys
from pathlib import Path

from genmnist.version import __version__

project = "genmnist"
author = copyright = "the genmnist developers"
release = __version__
sys.path.append(str(Path(__file__).parent))  # where mathml is

# The labs as `make notebooks` ran them; Sphinx reads what lies under this folder only.
_here = Path(__file__).parent
shutil.copytree(_here.parent / "notebooks", _here / "labs", dirs_exist_ok=True)
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml"]
html_math_renderer = "mathml"
myst_update_mathjax = False
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_use_rtype = False
napoleon_attr_annotations = False  # shapes are strings, which it would look up
html_theme = "furo"
html_title = "genmnist"
exclude_patterns = ["jupyter_execute", "_build"]
