"""What in the source of HTML is a tag, a comment or text, as the HTML standard's tokenizer has it."""

from __future__ import annotations

import re

_ATTRIBUTES = r"([^>=]*+(?:=\s*+(?:\"[^\"]*+\"?+|'[^']*+'?+)?+[^>=]*+)*+)"
MARKUP = re.compile(
    rf"<(?:(/?)([a-zA-Z][^\s/>]*+){_ATTRIBUTES}(?:>(\s*+)|\Z)"
    r"|!--(?:-?>|.*?(?:--!?>|\Z))|[!?][^>]*+(?:>|\Z)|/(?![a-zA-Z])[^>]*+(?:>|\Z))",
    re.DOTALL,
)
"""A tag (whether it ends one, its name, its attributes, the blanks behind it), or a comment, whose groups are None."""
RAW = {
    name: re.compile(rf"</{name}(?=[\s/>])[^>]*+(?:>|\Z)", re.IGNORECASE)
    for name in ("script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes")
}
"""Elements whose content is no markup, with what ends them."""
