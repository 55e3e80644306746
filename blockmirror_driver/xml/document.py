# Copyright the Blockmirror contributors
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Reading and writing XML text: one hardened parser, one serializer.

What libvirt hands back is trusted little more than what a user hands in: no entities, no
document types, no network, libxml2's limits on depth and size stay on.
"""

from __future__ import annotations

from lxml import etree

from blockmirror_driver import exception


def parse(text: str | bytes, expected: str = '') -> etree._Element:
    """Parse a document and return its root element.

    :param expected: the tag that the root must have; empty takes any.
    :raise InvalidDisk: when it is not well-formed, holds a document type, or has another
        root. The message never quotes the document, which may hold secrets.
    """
    # A parser is not safe to share between threads that fail, and cheap to make.
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(text, parser)
    except (etree.LxmlError, SyntaxError, ValueError, TypeError) as exc:
        # lxml quotes names of the document in its messages; the place is enough.
        where = f' at line {exc.lineno}' if isinstance(exc, etree.XMLSyntaxError) else ''
        raise exception.InvalidDisk(f'not a well-formed XML document{where}') from exc
    if root.getroottree().docinfo.internalDTD is not None:
        raise exception.InvalidDisk('an XML document with a document type is refused')
    if expected and root.tag != expected:
        raise exception.InvalidDisk(f'the XML document is not a <{expected}>')
    return root


def to_text(element: etree._Element) -> str:
    """Return the element as indented text, without a declaration."""
    etree.indent(element)
    return str(etree.tostring(element, encoding='unicode', with_tail=False))


def child(
    parent: etree._Element,
    tag: str,
    attributes: dict[str, str | None] | None = None,
    text: str | None = None,
) -> etree._Element:
    """Append an element; attributes whose value is ``None`` are left out.

    :raise InvalidDisk: when XML 1.0 can't hold a value (NUL, surrogates, ...).
    """
    element = etree.SubElement(parent, tag)
    try:
        for name, value in (attributes or {}).items():
            if value is not None:
                element.set(name, value)
        if text is not None:
            element.text = text
    except (ValueError, TypeError) as exc:
        raise exception.InvalidDisk(f'<{tag}> holds text that XML can not represent') from exc
    return element
