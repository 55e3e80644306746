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
"""What a domain's XML says about its disks, and the one edit that we make in it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from lxml import etree

from blockmirror_driver import exception, model
from blockmirror_driver.xml import disk as xml_disk
from blockmirror_driver.xml import document, grammar, slices
from blockmirror_driver.xml import source as xml_source
from blockmirror_driver.xml.compare import same_volume

Readiness: TypeAlias = Literal['no', 'yes', 'pivot', 'abort']


@dataclass(frozen=True, slots=True)
class MirrorState:
    """``<mirror>`` of a disk: a block job that has a destination.

    ``ready`` is ``no`` while it copies; ``pivot`` and ``abort`` say that libvirt was told
    to end it so and has not yet. ``source`` is where it copies to, ``job`` what it is
    (``copy`` or ``active-commit``), ``format`` empty where libvirt does not say.

    ``job`` is empty while libvirt clears up after the end of the job, whichever end that
    was: it forgets the job first, and takes ``<mirror>`` away some milliseconds later.
    """

    source: model.Source | None
    job: str
    ready: Readiness
    format: str = ''

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, and the XML is about to say how."""
        return not self.job


@dataclass(frozen=True, slots=True)
class DomainDisk:
    """A disk as a domain has it: what a :class:`Disk` says, and what only libvirt knows.

    ``format`` is the driver's, ``raw`` where the XML has none. ``run`` is that of the guest which
    has it (see :func:`run_id`), where the disk was looked for by its name.
    """

    disk: model.Disk
    alias: str | None = None
    mirror: MirrorState | None = None
    format: str = 'raw'
    encrypted: bool = False
    has_backing: bool = False
    run: str | None = field(default=None, compare=False)


def identity(domain_xml: str) -> tuple[str, str]:
    """Return the domain's name and its uuid; either is empty where the XML has none.

    :raise InvalidDisk: when it is not a domain's XML.
    """
    root = document.parse(domain_xml, 'domain')
    return root.findtext('name', ''), root.findtext('uuid', '')


def run_id(domain_xml: str) -> str | None:
    """Return libvirt's number of this run of the guest, ``None`` of one that is off.

    Another start of the guest has another number; a restart of libvirtd keeps it, a reboot
    of the host begins to count anew.

    :raise InvalidDisk: when it is not a domain's XML.
    """
    return document.parse(domain_xml, 'domain').get('id')


def disks(domain_xml: str) -> tuple[DomainDisk, ...]:
    """Return the domain's disks in the order of the XML, CD drives included.

    :raise InvalidDisk: when it is not a domain's XML.
    """
    root = document.parse(domain_xml, 'domain')
    return tuple(_domain_disk(element) for element in _disk_elements(root))


def find(domain_xml: str, dev: str) -> DomainDisk:
    """Return the disk whose target is ``dev``, for example ``vda``.

    :raise DiskNotFound: when the domain has none.
    :raise InvalidDisk: when it is not a domain's XML.
    """
    root = document.parse(domain_xml, 'domain')
    return replace(_domain_disk(_find(root, dev)), run=root.get('id'))


def disk_xml(domain_xml: str, dev: str) -> str:
    """Return the ``<disk>`` whose target is ``dev`` as libvirt wrote it.

    :raise DiskNotFound: when the domain has none.
    :raise InvalidDisk: when it is not a domain's XML.
    """
    return document.to_text(_find(document.parse(domain_xml, 'domain'), dev))


def cited_secrets(domain_xml: str) -> set[str]:
    """Return the uuids (as libvirt prints them) and usages of all secrets it cites.

    Looks everywhere below ``<devices>``: at disks, mirrors, backing files, TPMs.

    :raise InvalidDisk: when it is not a domain's XML.
    """
    found: set[str] = set()
    devices = document.parse(domain_xml, 'domain').find('devices')
    for element in () if devices is None else devices.iter('secret', 'encryption'):
        for text in (element.get('uuid'), element.get('usage'), element.get('secret')):
            if text:
                found.add(grammar.uuid_text(text) or text)
    return found


def with_disk_source(domain_xml: str, dev: str, source_disk: model.Disk, *, live_xml: str) -> str:
    """Return ``domain_xml`` with the disk's source and format taken from ``live_xml``.

    Everything else of the disk stays: target, address, alias, serial, tuning. The elements
    are copied as libvirt wrote them, so that what our values do not express survives.

    :param domain_xml: the stored XML that is to be repaired.
    :param source_disk: what the live disk must be; guards against a change in between.
    :param live_xml: XML of a domain whose ``dev`` is on the right volume.
    :raise DiskNotFound: when either domain has no such disk.
    :raise InvalidDisk: when either is not a domain's XML, or the live disk is on another
        volume than ``source_disk``.
    """
    root = document.parse(domain_xml, 'domain')
    live = _find(document.parse(live_xml, 'domain'), dev)
    if not same_volume(xml_source.parse(live), source_disk.source):
        raise exception.InvalidDisk(f'{dev} is on another volume by now')
    stored = _find(root, dev)
    stored.set('type', live.get('type', 'file'))
    _copy_format(stored, live)
    for tag in ('source', 'auth', 'encryption', 'backingStore', 'mirror'):
        for element in stored.findall(tag):
            stored.remove(element)
    for tag in ('source', 'backingStore', 'auth', 'encryption'):
        for element in live.findall(tag):
            stored.append(_without_runtime(element))
    return document.to_text(root)


def without_slices(domain_xml: str, dev: str) -> str:
    """Return ``domain_xml`` with the disk using all of its volume.

    :raise DiskNotFound: there is no such disk.
    :raise InvalidDisk: when it is not a domain's XML.
    """
    root = document.parse(domain_xml, 'domain')
    for element in _find(root, dev).findall(f'source/{slices.TAG}'):
        parent = element.getparent()
        assert parent is not None
        parent.remove(element)
    return document.to_text(root)


def _copy_format(stored: etree._Element, live: etree._Element) -> None:
    ours, theirs = stored.find('driver'), live.find('driver')
    image_format = 'raw' if theirs is None else theirs.get('type', 'raw')
    if ours is None:
        ours = document.child(stored, 'driver', {'name': 'qemu'})
    ours.set('type', image_format)


def _without_runtime(element: etree._Element) -> etree._Element:
    """Copy an element without what libvirt adds while a guest runs."""
    clone = copy.deepcopy(element)
    clone.tail = None
    for node in list(clone.iter()):
        if 'index' in node.attrib:
            del node.attrib['index']
        if node.tag == 'privateData' and node is not clone:
            parent = node.getparent()
            assert parent is not None
            parent.remove(node)
    return clone


def _disk_elements(root: etree._Element) -> Iterator[etree._Element]:
    for element in root.iterfind('devices/disk'):
        if element.find('target[@dev]') is not None:
            yield element


def _find(root: etree._Element, dev: str) -> etree._Element:
    for element in _disk_elements(root):
        target = element.find('target')
        if target is not None and target.get('dev') == dev:
            return element
    raise exception.DiskNotFound(f'no disk {dev} in domain {root.findtext("name", "")}')


def _domain_disk(element: etree._Element) -> DomainDisk:
    disk = xml_disk.parse(element)
    alias = element.find('alias')
    mirror = element.find('mirror')
    backing = element.find('backingStore')
    return DomainDisk(
        disk=disk,
        alias=None if alias is None else alias.get('name'),
        mirror=None if mirror is None else _mirror(mirror),
        format=disk.driver.format,
        encrypted=_is_encrypted(element) or disk.driver.format == 'luks',
        # An empty element says that the chain ends here.
        has_backing=backing is not None and len(backing) > 0,
    )


def _is_encrypted(element: etree._Element) -> bool:
    return any(element.find(path) is not None for path in ('encryption', 'source/encryption'))


def _mirror(element: etree._Element) -> MirrorState:
    source = xml_source.parse(element)
    image_format = element.find('format')
    ready: Any = element.get('ready', 'no')
    return MirrorState(
        source=None if source == model.OtherSource('empty', '') else source,
        job=element.get('job', 'copy'),
        ready=ready if ready in ('no', 'yes', 'pivot', 'abort') else 'no',
        format=element.get('format', '') if image_format is None else image_format.get('type', ''),
    )
