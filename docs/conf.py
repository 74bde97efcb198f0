"""The site: `pip install ".[docs]"`, then `sphinx-build -W docs build/site`.

Nothing is fetched: equations are MathML, and links into the repository lead to copies of the files
on the site, or to the repository that `CLMER_REPOSITORY` names.
"""

import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

import clmer

project = "CLMER"
author = "the authors of CLMER"
version = release = clmer.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "mathml",
    "repository_links",
]
templates_path = ["_templates"]
exclude_patterns = ["_*"]
smartquotes = False  # code in docstrings keeps its quotes
default_role = "py:obj"
html_math_renderer = "mathml"
#: The address of the repository's files, as https://github.com/OWNER/clmer/blob/main
repository = os.environ.get("CLMER_REPOSITORY", "")

myst_heading_anchors = 4
myst_fence_as_directive = ["math"]
myst_enable_extensions = ["colon_fence"]

autosummary_generate = True
# A page that was made for a name which is gone would be in no toctree.
shutil.rmtree(Path(__file__).parent / "api" / "generated", ignore_errors=True)
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
toc_object_entries_show_parents = "hide"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "backreferences_dir": "gallery/uses",
    "doc_module": ("clmer",),
    "filename_pattern": "/plot_",
    "within_subsection_order": "FileNameSortKey",
    "show_signature": False,
    "show_memory": False,
    "download_all_examples": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "capture_repr": (),
    "abort_on_example_error": True,
    "image_scrapers": ("matplotlib",),
    "matplotlib_animations": False,
    "reset_modules": ("matplotlib",),
}
#: Prepared recordings of the gallery; its own for each build.
os.environ["CLMER_CACHE"] = tempfile.mkdtemp(prefix="clmer-site-")
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")

html_theme = "pydata_sphinx_theme"
html_title = "CLMER"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sourcelink_suffix = ""
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": {"**": ["page-toc", "sg_download_links"], "index": []},
}
copyright = "the authors of CLMER. BSD-3-Clause"
