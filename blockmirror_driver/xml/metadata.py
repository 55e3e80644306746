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
"""Our element in a domain's ``<metadata>``: which swaps are under way on it.

It exists so that a lost journal can be rebuilt. It holds no secret: a ``<disk>`` cites
secrets, and is kept as text, so that nothing takes it for a disk of the domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lxml import etree

from blockmirror_driver import exception
from blockmirror_driver.xml import document

#: The ``uri`` and ``key`` of virDomainSetMetadata.
NAMESPACE = 'https://blockmirror.opendev.org/xmlns/swap/1'
KEY = 'blockmirror'


@dataclass(frozen=True, slots=True)
class SwapMark:
    """One swap; ``source_xml`` is empty when the source is of a kind we can't build."""

    swap_id: str
    target_dev: str
    source_xml: str
    destination_xml: str
    intent: str


def build(marks: Sequence[SwapMark]) -> str:
    """Return the element for virDomainSetMetadata, which puts it into the namespace.

    :raise InvalidDisk: when XML can't hold a text.
    """
    root = etree.Element('swaps')
    for mark in marks:
        element = document.child(
            root, 'swap', {'id': mark.swap_id, 'dev': mark.target_dev, 'intent': mark.intent}
        )
        document.child(element, 'source', text=mark.source_xml)
        document.child(element, 'destination', text=mark.destination_xml)
    return document.to_text(root)


def parse(text: str) -> tuple[SwapMark, ...]:
    """Return the marks, with the namespace or as virDomainGetMetadata strips it.

    :raise InvalidDisk: when the element is not one that :func:`build` made.
    """
    root = document.parse(text)
    if _local(root) != 'swaps':
        raise exception.InvalidDisk('the metadata of the domain is not ours')
    marks = []
    for element in root:
        texts = {_local(child): child.text or '' for child in element}
        swap_id, dev = element.get('id'), element.get('dev')
        if _local(element) != 'swap' or not swap_id or not dev:
            raise exception.InvalidDisk('the metadata of the domain holds a damaged mark')
        marks.append(
            SwapMark(
                swap_id,
                dev,
                texts.get('source', ''),
                texts.get('destination', ''),
                element.get('intent', ''),
            )
        )
    return tuple(marks)


def _local(element: etree._Element) -> str:
    return str(element.tag).removeprefix(f'{{{NAMESPACE}}}')
