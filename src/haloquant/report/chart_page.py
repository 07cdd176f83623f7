"""A chart as a page of its own, and the scripts with which a browser draws charts.

vl-convert puts Vega, Vega-Lite and vega-embed into one script. That takes four seconds in each process, so the script
is kept in the user's cache folder.
"""

import html
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import vl_convert
from platformdirs import user_cache_path

from haloquant.errors import InputError
from haloquant.store.atomic_files import read_bounded, sha256_bytes, write_text

MOST_BYTES = 1 << 24

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>body {{ margin: 24px; font-family: sans-serif; }}</style>
</head>
<body>
<div id="chart"></div>
<script>{scripts}</script>
<script>vegaEmbed("#chart", {spec}, {{renderer: "svg"}}).catch(console.error);</script>
</body>
</html>
"""


def chart_page(spec: Mapping[str, Any], title: str) -> str:
    """Return a Vega-Lite chart as an HTML page that needs no network.

    Args:
        spec: The chart's specification.
        title: Title of the page.
    """
    shown = json.dumps(spec).replace("<", "\\u003c")  # neither `</script` nor `<!--` may stand in a script
    return _PAGE.format(title=html.escape(title), scripts=browser_scripts(), spec=shown)


def browser_scripts(cache: Path | None = None) -> str:
    """Return the scripts that a page needs to draw charts, ready to stand in a `<script>` element.

    Args:
        cache: Folder in which they are kept; None means the user's cache folder. A folder that cannot be written to is
            no error: the scripts are then made in every process.
    """
    folder = user_cache_path("haloquant") / "charts" if cache is None else cache
    file = folder / f"vega-{version('vl-convert-python')}.js"
    try:
        name, _, kept = read_bounded(file, MOST_BYTES).decode().partition("\n")
        if name == _first_line(kept):
            return kept
    except (OSError, InputError, UnicodeDecodeError):
        pass  # there is none, or it is damaged
    bundle = cast(str, vl_convert.javascript_bundle())  # pyright: ignore[reportCallIssue]  # the stub forgets the default
    scripts = bundle.replace("</script", "<\\/script")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, f"{_first_line(scripts)}\n{scripts}")
    except OSError:
        pass
    return scripts


def _first_line(scripts: str) -> str:
    return f"// sha256 {sha256_bytes(scripts.encode())}"
