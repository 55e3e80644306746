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
"""``<backingStore>``: the layers below an image, each with its format, down to the last.

What is written always ends with an empty element, which keeps libvirt from looking into the
images for more.
"""

from __future__ import annotations

from lxml import etree

from blockmirror_driver import exception
from blockmirror_driver.model import Backing
from blockmirror_driver.xml import document, grammar
from blockmirror_driver.xml import source as xml_source

TAG = 'backingStore'


def build(parent: etree._Element, backing: Backing | None) -> None:
    """Append the element, with all that is below it.

    :raise InvalidDisk: a layer is of a kind, or has a format, that we do not write.
    """
    element = document.child(parent, TAG)
    if backing is None:
        return
    if backing.format not in grammar.FORMATS:
        raise exception.InvalidDisk('no such format of a backing file')
    document.child(element, 'format', {'type': backing.format})
    element.set('type', xml_source.build(element, backing.source))
    build(element, backing.below)


def parse(parent: etree._Element) -> Backing | None:
    """Return the layer below a ``<disk>`` or a layer; ``None``: none is told. Never raises."""
    element = parent.find(TAG)
    if element is None or element.find('source') is None:
        return None
    found = element.find('format')
    return Backing(
        source=xml_source.parse(element),
        format='raw' if found is None else found.get('type', 'raw'),
        below=parse(element),
    )
