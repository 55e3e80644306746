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
"""``<secret>``: how a secret is declared to libvirt. Its value never stands in XML."""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from blockmirror_driver import exception
from blockmirror_driver.model import SecretRef, SecretUsage
from blockmirror_driver.xml import document, grammar

#: The child of ``<usage>`` that holds the name, by the usage's type (secret.rng).
_NAME_TAG = {'ceph': 'name', 'iscsi': 'target', 'volume': 'volume', 'tls': 'name', 'vtpm': 'name'}


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """What libvirt tells of a secret; ``usage_type`` and ``usage`` may be empty."""

    uuid: str
    usage_type: str
    usage: str
    ephemeral: bool
    private: bool
    description: str


def build(
    usage_type: SecretUsage,
    usage: str,
    *,
    uuid: str | None,
    ephemeral: bool,
    private: bool = True,
    description: str = '',
) -> str:
    """Return the XML that declares a secret.

    :param usage: unique per type within the hypervisor.
    :param uuid: ``None`` lets libvirt choose one.
    :param ephemeral: kept in memory only; gone when libvirt's daemon ends.
    :param private: its value can't be read back, by nobody but libvirt's drivers.
    :raise InvalidDisk: when a text is empty, or one that XML can't hold.
    """
    if not usage:
        raise exception.InvalidDisk('a secret without a usage')
    if uuid is not None and grammar.uuid_text(uuid) is None:
        raise exception.InvalidDisk('the uuid of a secret is not one')
    root = etree.Element('secret', {'ephemeral': _yes(ephemeral), 'private': _yes(private)})
    if uuid is not None:
        document.child(root, 'uuid', text=uuid)
    if description:
        document.child(root, 'description', text=description)
    element = document.child(root, 'usage', {'type': usage_type.value})
    document.child(element, _NAME_TAG[usage_type.value], text=usage)
    return document.to_text(root)


def parse(xml: str | bytes) -> SecretInfo:
    """Return what the XML of a secret says, of any type of usage.

    :raise InvalidDisk: when it is not a ``<secret>``.
    """
    root = document.parse(xml, 'secret')
    usage = root.find('usage')
    usage_type = '' if usage is None else usage.get('type', '')
    tag = _NAME_TAG.get(usage_type)
    return SecretInfo(
        uuid=root.findtext('uuid', ''),
        usage_type=usage_type,
        usage='' if usage is None or tag is None else usage.findtext(tag, ''),
        ephemeral=root.get('ephemeral') == 'yes',
        private=root.get('private') == 'yes',
        description=root.findtext('description', ''),
    )


def reference(ref: SecretRef) -> dict[str, str | None]:
    """Return the attributes by which XML cites a secret.

    :raise InvalidDisk: when that is neither a uuid nor a usage, or both.
    """
    if (ref.uuid is None) == (ref.usage is None):
        raise exception.InvalidDisk('a secret is cited by uuid or by usage')
    if ref.uuid is not None and grammar.uuid_text(ref.uuid) != ref.uuid:
        raise exception.InvalidDisk('the uuid of a secret is not one')
    return {'uuid': ref.uuid, 'usage': ref.usage}


def referred(element: etree._Element, usage_type: SecretUsage) -> SecretRef:
    """Return what an element cites. Never raises."""
    uuid = element.get('uuid')
    return SecretRef(
        usage_type, uuid=grammar.uuid_text(uuid) if uuid else None, usage=element.get('usage')
    )


def _yes(value: bool) -> str:
    return 'yes' if value else 'no'
