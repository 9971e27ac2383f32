"""Sphinx's configuration: ``make docs`` builds the site into build/docs, without any network."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from tvmkd.base.version import __version__  # noqa: E402

project = "tvmkd"
author = "the tvmkd authors"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_pages",
    "schema_pages",
]
exclude_patterns = ["_ext"]
nitpicky = True
# What stands in annotations and is documented elsewhere: no inventory is downloaded to find it.
nitpick_ignore_regex = [
    (r"py:.*", r"(np|numpy|torch|nn|onnx|tvm|click|pathlib|collections|typing|pydantic)\..*"),
    (r"py:.*", r"[^.]+"),  # a name by itself, out of an annotation
    (r"py:.*", r"tvmkd\..*"),  # not every module has a page
]
default_role = "literal"
highlight_language = "text"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "tvmkd"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
