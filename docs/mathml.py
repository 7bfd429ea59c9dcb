"""A Sphinx extension: formulas as MathML, which browsers set without scripts, fonts or a network."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

# Browsers know letters of other alphabets by code point alone, and no space after the name of a function.
_LETTER = re.compile(r'<mi mathvariant="(script|double-struck)">(\w)</mi>')
_FUNCTION = re.compile(r"(?<!<msup>)(<mi>(?:log|exp|sin|cos|tan)</mi>)(?!<mo[^>]*>\(|</m)")


def mathml(tex: str, display: bool) -> str:
    """Return a formula. Raises ValueError if it has a command that is unknown."""
    found = convert(tex, display="block" if display else "inline")
    found = _LETTER.sub(lambda letter: f"<mi>{_alphabet(*letter.groups())}</mi>", found)
    found = _FUNCTION.sub(r'\1<mspace width="0.167em"/>', found)
    if "\\" in found:
        raise ValueError(f"cannot set {tex!r}: {found}")
    return found


def _alphabet(name: str, letter: str) -> str:
    for prefix in ("MATHEMATICAL ", ""):  # a few letters were there before the others came
        try:
            return unicodedata.lookup(f"{prefix}{name.upper()} CAPITAL {letter}")
        except KeyError:
            continue
    return letter


def _inline(translator: Any, node: nodes.Element) -> None:
    translator.body.append(f'<span class="mathml">{mathml(node.astext(), display=False)}</span>')
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.Element) -> None:
    translator.body.append(f'<div class="mathml">{mathml(node.astext(), display=True)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
