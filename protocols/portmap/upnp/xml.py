"""XML from strangers: small, flat and without entities. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from carrick.errors import MessageTooLarge, ProtocolError
from carrick.interfaces import Buffer

__all__ = ["MAX_DOCUMENT", "Element", "parse_xml"]

MAX_DOCUMENT = 128 * 1024  # bytes; real descriptions have 3 to 30 KiB
MAX_DEPTH = 32
MAX_ELEMENTS = 4096


@dataclass(slots=True)
class Element:
    """An element; `name` is without its namespace, `text` without the white space around it."""

    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def child(self, name: str) -> Element | None:
        return next((each for each in self.children if each.name == name), None)

    def value(self, name: str) -> str:
        """The text of that child; empty if there is none."""
        found = self.child(name)
        return found.text if found else ""

    def all(self, name: str) -> Iterator[Element]:
        """Every element of that name below."""
        for each in self.children:
            if each.name == name:
                yield each
            yield from each.all(name)


def parse_xml(data: Buffer) -> Element:
    """The root of a document. Attributes, comments and processing instructions are left out.

    Raises:
        MessageTooLarge: more than `MAX_DOCUMENT` bytes.
        ProtocolError: it is malformed, too deep, has too many elements, or a document type: by that
            come entities, which make much of little, or files of ours.
    """
    document = bytes(data)
    if len(document) > MAX_DOCUMENT:
        raise MessageTooLarge(f"an XML document of {len(document)} bytes")
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.EntityDeclHandler = builder.refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.characters
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the two: unknown encodings
        raise ProtocolError(f"malformed XML: {error}") from None
    return builder.root.children[0]


class _Builder:
    def __init__(self) -> None:
        self.root = Element("")
        self._open = [self.root]
        self._count = 0

    def start(self, name: str, attributes: object) -> None:
        self._count += 1
        if len(self._open) > MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise ProtocolError("XML that is too deep, or of too many elements")
        element = Element(name.rpartition(":")[2])
        self._open[-1].children.append(element)
        self._open.append(element)

    def end(self, name: str) -> None:
        element = self._open.pop()
        element.text = element.text.strip()

    def characters(self, text: str) -> None:
        self._open[-1].text += text

    def refuse(self, *declared: object) -> None:
        raise ProtocolError("XML with a document type or entities")
