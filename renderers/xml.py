"""XML documents of elements, text and attributes, written the same way every time.

In: trees made by `element`. Out: UTF-8 bytes. Must not write mixed content, comments, CDATA or processing instructions: none of them is
needed, and each is a way out of a value. Source: XML 1.0.
"""

from __future__ import annotations

from xml.etree import ElementTree

from renderers import escape

Element = ElementTree.Element


def element(parent: Element, name: str, text: str | int | bool | None = None, /, **attributes: str) -> Element:
    """A new last child of `parent`; `__` in an attribute's name stands for a colon. RenderError for text that XML cannot carry."""
    made = ElementTree.SubElement(parent, name, {key.replace("__", ":"): escape.xml(value) for key, value in attributes.items()})
    if text is not None:
        made.text = str(text).lower() if isinstance(text, bool) else escape.xml(str(text) if isinstance(text, int) else text)
    return made


def script(parent: Element, name: str, lines: list[str]) -> Element:
    """A new last child that holds a script of several lines, each checked by itself."""
    made = ElementTree.SubElement(parent, name)
    made.text = "\n".join(["", *(line.rstrip() for line in lines if escape.xml(line.strip()) or not line.strip()), ""])
    return made


def document(root: Element, head: str = "") -> bytes:
    """The document below the XML declaration and the line `head`, such as a document type."""
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return "\n".join(['<?xml version="1.0" encoding="utf-8"?>', *([head] if head else []), text, ""]).encode()
