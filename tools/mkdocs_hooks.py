"""Hooks of mkdocs: add the pages outside docs/ to the site, and rewrite links for the site.

A link in a page names a file of the repository. If the site has a page of that file, the link leads
there. Otherwise it leads to `repo_url`, or becomes plain text if `repo_url` is not set. A link to a
missing file stays as it is, so that `mkdocs build --strict` fails on it.
"""

import logging
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

LOG = logging.getLogger("mkdocs.hooks.whence")
ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "ARCHITECTURE.md",
    "GLOSSARY.md": "GLOSSARY.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "bench/README.md": "bench.md",
    "bench/peers.md": "bench-peers.md",
}
LINK = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?P<path>[^()#\s]+)(?P<anchor>#[^()\s]*)?\)")
LOADED = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^>]*>")


def on_files(files: Any, config: Any) -> Any:
    """Add each page of OUTSIDE."""
    for source, uri in OUTSIDE.items():
        content = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrite the relative links of a page."""
    source = source_of(page.file.src_uri)
    known = {source_of(file.src_uri): file.src_uri for file in files}

    def rewrite(match: re.Match[str]) -> str:
        text, path, anchor = match["text"], match["path"], match["anchor"] or ""
        if ":" in path or path.startswith("/"):
            return match[0]
        target = os.path.normpath(Path(source).parent / path)
        page_of = known.get(target) or known.get(f"{target}/README.md")
        if page_of:
            return f"[{text}]({relative(page_of, page.file.src_uri)}{anchor})"
        if not (ROOT / target).exists():
            return match[0]
        return f"[{text}]({config.repo_url}/blob/HEAD/{target})" if config.repo_url else text

    return LINK.sub(rewrite, markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Warn of files that a reader's browser would load from another host."""
    for tag in LOADED.findall(output):
        if 'rel="canonical"' not in tag:
            LOG.warning("%s loads from another host: %s", page.file.src_uri, tag)
    return output


def source_of(uri: str) -> str:
    """Return the path in the repository of a page of the site."""
    for source, outside in OUTSIDE.items():
        if outside == uri:
            return source
    return f"docs/{uri}"


def relative(uri: str, page_uri: str) -> str:
    """Return the link from one page of the site to another."""
    return os.path.relpath(uri, Path(page_uri).parent).replace(os.sep, "/")
