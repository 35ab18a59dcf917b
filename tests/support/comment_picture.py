"""A comment as a picture: rendered by GitHub's parser, with GitHub's stylesheet, in Chromium.

Its signs need a font with emoji, as Debian has it in fonts-noto-color-emoji.
"""

import subprocess
import tempfile
from pathlib import Path

from github_markdown import to_html

# github-markdown-css, MIT: only to draw the picture, and no part of the bundle.
_STYLESHEET = "github-markdown-css@5.9.0"
_SIZE = (920, 1075)
_PAGE = """\
<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="{css}">
<style>
  body {{ margin: 0; background: #fff; }}
  .frame {{ margin: 16px; border: 1px solid #d1d9e0; border-radius: 6px; }}
  .head {{ padding: 8px 16px; background: #f6f8fa; border-bottom: 1px solid #d1d9e0;
    border-radius: 6px 6px 0 0; font: 14px "Liberation Sans", "DejaVu Sans", sans-serif;
    color: #59636e; }}
  .head b {{ color: #1f2328; }}
  .bot {{ border: 1px solid #d1d9e0; border-radius: 2em; padding: 0 6px; font-size: 12px; }}
  .markdown-body {{ padding: 16px; font-family: "Liberation Sans", "DejaVu Sans", sans-serif; }}
  .markdown-body td:first-child {{ white-space: nowrap; }}
</style>
<div class="frame"><div class="head"><b>github-actions</b> <span class="bot">bot</span>
commented</div><div class="markdown-body">{html}</div></div>
"""


def draw(markdown: str, picture: Path) -> None:
    """Draw a comment, with its second folded part open."""
    first, second, others = to_html(markdown).split("<details>", 2)
    html = f"{first}<details>{second}<details open>{others}"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        subprocess.run(
            ["npm", "install", "--silent", "--no-save", "--ignore-scripts", _STYLESHEET],
            cwd=folder,
            check=True,
        )
        css = folder / "node_modules" / "github-markdown-css" / "github-markdown-light.css"
        page = folder / "page.html"
        page.write_text(_PAGE.format(css=css.as_uri(), html=html))
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={folder / 'profile'}", f"--window-size={_SIZE[0]},{_SIZE[1]}",
             f"--screenshot={picture}", page.as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
