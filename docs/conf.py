"""How Sphinx makes the site: ``pip install '.[docs]' && sphinx-build -W docs docs/_build``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE.parent)]

import sam_audio_bench  # noqa: E402

project = "sam-audio-bench"
author = "The sam-audio-bench authors"
project_copyright = author
version = release = sam_audio_bench.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "checkout_pages",
    "reference_pages",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
default_role = "py:obj"
suppress_warnings = ["ref.python"]  # builtins as "slice" in annotations, which are names of fields too
smartquotes = False  # options have two dashes

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 6
nb_execution_mode = "off"  # notebooks are executed by docs/notebooks.py, and their outputs are committed
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = f"sam-audio-bench {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
