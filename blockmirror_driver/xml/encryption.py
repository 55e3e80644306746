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
"""``<encryption>`` of a disk: LUKS, which QEMU reads and writes."""

from __future__ import annotations

from lxml import etree

from blockmirror_driver import exception, model
from blockmirror_driver.xml import document
from blockmirror_driver.xml import secret as xml_secret

#: librbd's own is another thing. It has to be said: for a copy's destination libvirt 11 fills in
#: nothing, and would mirror the plain data over the header.
_ENGINE = 'qemu'


def build(source: etree._Element, encryption: model.Encryption | None) -> None:
    """Append ``<encryption>`` to a ``<source>``.

    :raise InvalidDisk: when it is none that we build, or cites no secret, or two.
    """
    if encryption is None:
        return
    ref = encryption.secret
    if encryption.format != 'luks' or ref is None or ref.type is not model.SecretUsage.VOLUME:
        raise exception.InvalidDisk('only LUKS with a passphrase can be built')
    named: dict[str, str | None] = {'format': encryption.format, 'engine': _ENGINE}
    element = document.child(source, 'encryption', named)
    document.child(element, 'secret', {'type': 'passphrase', **xml_secret.reference(ref)})


def parse(disk: etree._Element) -> model.Encryption | None:
    """Return the encryption of a ``<disk>``, ``None`` for none. Never raises."""
    node = disk.find('source/encryption')
    if node is None:
        # Where older XML has it; libvirt leaves it there.
        node = disk.find('encryption')
    if node is None:
        return None
    kind, engine = node.get('format', ''), node.get('engine', _ENGINE)
    secrets = node.findall('secret')
    usual = len(secrets) == 1 and secrets[0].get('type') == 'passphrase'
    if engine != _ENGINE:
        kind, usual = f'{kind} by {engine}', False
    ref = xml_secret.referred(secrets[0], model.SecretUsage.VOLUME) if usual else None
    return model.Encryption(ref, format=kind)
