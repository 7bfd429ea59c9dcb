"""The page's ES modules, linked into one script that needs no other file.

Each module becomes a function that returns what it exports, so that names stay its own. The modules keep to
plain forms, and import each other in no circle: `import { a, b } from "./x.js";` and `export` before a
function, a class or a constant.
"""

from __future__ import annotations

import re
from pathlib import Path

_FOLDER = Path(__file__).parent / "js"
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+)\.js";$', re.M)
_EXPORT = re.compile(r"^export (async function\*?|function\*?|class|const) (\w+)", re.M)


def link(entry: str, folder: Path = _FOLDER) -> str:
    """Return a module and all that it imports as one script.

    Raises:
        ValueError: a module imports or exports in a form that is not linked.
    """
    order: list[str] = []
    parts: dict[str, str] = {}

    def add(name: str) -> None:
        if name in parts:
            return
        text = (folder / f"{name}.js").read_text("utf-8")
        parts[name] = ""  # on its way
        for match in _IMPORT.finditer(text):
            add(match[2])
        exported = [match[2] for match in _EXPORT.finditer(text)]
        text = _IMPORT.sub(
            lambda match: f"const {{{match[1].replace(' as ', ': ')}}} = {_variable(match[2])};", text
        )
        text = _EXPORT.sub(r"\1 \2", text).replace("\nexport {};\n", "\n")
        if stray := re.search(r"^(import|export)\b.*", text, re.M):
            raise ValueError(f"{name}.js has a line that is not linked: {stray[0]}")
        parts[name] = (
            f"const {_variable(name)} = (() => {{\n{text}return {{ {', '.join(exported)} }};\n}})();\n"
        )
        order.append(name)

    add(entry)
    return "".join(parts[name] for name in order)


def _variable(name: str) -> str:
    return f"module_{name.replace('-', '_')}"
