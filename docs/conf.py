"""The documentation site, built by ``make docs``.

The source folder is the repository itself, so that links between files work on the site, in JupyterLab and in
the repository. Nothing is fetched while the site is built or read.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "chatlio_kit"
author = "the chatlio_kit contributors"
project_copyright = "the chatlio_kit contributors; Apache 2.0"
version = release = installed("chatlio-kit")

extensions = [
    "myst_nb",
    "python_face",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "notebooks/*.ipynb",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "DEVELOPERS.md",
    "SECURITY.md",
    "CHANGELOG.md",
]
exclude_patterns = [".*", "build", "chatlio_kit", "tests", "**/.ipynb_checkpoints"]

# Any dangling reference is an error. Names from other packages have no page here.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:class", r"(pandas|pd|pyarrow|matplotlib|concurrent|contextlib|collections|pathlib|datetime)\..*"),
    (r"py:(func|mod)", r"chatlio_kit\.[a-z_]+\..*"),  # what is not public
    (r"py:class", r"(chatlio_kit\.[a-z].*|[A-Z]\w+)"),  # what only a signature names
]

smartquotes_action = "D"  # quotes stay straight, so that a search finds messages as written
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the tutorials show the outputs that `make notebooks-test` compares
nb_merge_streams = True
nb_ipywidgets_js = {}  # a widget's script would come from a CDN; progress bars are also stored as text

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = False
python_maximum_signature_line_length = 88
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Returns"]  # a sentence with a colon is not a type

html_theme = "pydata_sphinx_theme"
html_title = "chatlio_kit"
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_top"]  # sends / to the first page
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"docs/index": []}
html_theme_options = {
    "logo": {
        "text": "chatlio_kit",
        "image_light": "_static/favicon.svg",
        "image_dark": "_static/favicon.svg",
    },
    "show_prev_next": True,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "secondary_sidebar_items": {
        "**": ["page-toc"],
        "docs/index": [],
        "docs/data-dictionary": [],  # wide tables need the space
        "docs/dialects": [],
        "docs/metrics": [],
    },
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_prompt_text = r">>> |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"
