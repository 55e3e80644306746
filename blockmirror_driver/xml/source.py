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
"""``<source>`` of a disk, of a ``<mirror>``: each kind built and parsed side by side.

A source is typed only when the whole element can be written again from the value; all
else becomes an :class:`OtherSource`, which can be compared but not built.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

from lxml import etree

from blockmirror_driver import exception, model
from blockmirror_driver.xml import document, grammar, slices
from blockmirror_driver.xml import secret as xml_secret

#: Attributes and children that say nothing about which volume it is.
_VOLATILE_ATTRIBUTES = frozenset({'index', 'startupPolicy', 'fdgroup'})
_VOLATILE_CHILDREN = frozenset({'seclabel', 'privateData', 'reservations', 'encryption'})

# ---------------------------------------------------------------- building


def build(parent: etree._Element, source: model.Source) -> str:
    """Append ``<source>`` to ``parent`` and return the disk type that goes with it.

    :raise InvalidDisk: when a value is outside libvirt's schema, or the source is one
        that we can only compare.
    """
    match source:
        case model.RbdSource():
            _build_rbd(parent, source)
        case model.IscsiSource():
            _build_iscsi(parent, source)
        case model.NfsSource():
            _build_nfs(parent, source)
        case model.NbdSource():
            _build_nbd(parent, source)
        case model.FileSource():
            document.child(parent, 'source', {'file': _absolute(source.path)})
            return 'file'
        case model.BlockSource():
            document.child(parent, 'source', {'dev': _absolute(source.path)})
            return 'block'
        case model.QemuSource():
            document.child(parent, 'source', {'options': source.options})
            return 'qemu'
        case _:
            raise exception.InvalidDisk(f'a source of kind {source.kind} can not be built')
    return 'network'


def _absolute(path: str) -> str:
    if not path.startswith('/') or path == '/' or '\n' in path:
        raise exception.InvalidDisk('the path of a source must be absolute')
    return path


def _network(parent: etree._Element, protocol: str, name: str) -> etree._Element:
    return document.child(parent, 'source', {'protocol': protocol, 'name': name})


def _build_host(source: etree._Element, host: model.Host) -> None:
    if not grammar.is_host(host.name):
        raise exception.InvalidDisk('a host is neither a DNS name nor an IP address')
    if host.port is not None and not 0 < host.port < 1 << 16:
        raise exception.InvalidDisk('a port is not within 1 to 65535')
    port = None if host.port is None else str(host.port)
    document.child(source, 'host', {'name': host.name, 'port': port})


def _build_auth(source: etree._Element, auth: model.Auth | None) -> None:
    if auth is None:
        return
    ref = auth.secret
    if not grammar.is_generic_name(auth.username):
        raise exception.InvalidDisk("libvirt's schema does not allow this user name in <auth>")
    if ref.type is model.SecretUsage.VOLUME:
        raise exception.InvalidDisk('the secret of a volume lets nobody in')
    cited = xml_secret.reference(ref)
    if ref.usage is not None and not grammar.is_object_name(ref.usage):
        raise exception.InvalidDisk("libvirt's schema does not allow this usage of a secret")
    element = document.child(source, 'auth', {'username': auth.username})
    document.child(element, 'secret', {'type': ref.type.value, **cited})


def _build_rbd(parent: etree._Element, rbd: model.RbdSource) -> None:
    namespace = () if rbd.namespace is None else (rbd.namespace,)
    if any(not part or '/' in part for part in (rbd.pool, *namespace, rbd.image)):
        raise exception.InvalidDisk('an rbd pool, namespace or image is empty or holds a slash')
    element = _network(parent, 'rbd', rbd.name)
    for host in rbd.hosts:
        _build_host(element, host)
    if rbd.config_file is not None:
        document.child(element, 'config', {'file': _absolute(rbd.config_file)})
    _build_auth(element, rbd.auth)


def _build_iscsi(parent: etree._Element, iscsi: model.IscsiSource) -> None:
    if not iscsi.target or '/' in iscsi.target:
        raise exception.InvalidDisk('an iscsi target name is empty or holds a slash')
    # QEMU and libvirt read an unsigned int.
    if not 0 <= iscsi.lun < 1 << 32:
        raise exception.InvalidDisk('an iscsi LUN is not an unsigned number of 32 bits')
    element = _network(parent, 'iscsi', iscsi.name)
    _build_host(element, iscsi.portal)
    _build_auth(element, iscsi.auth)
    if iscsi.initiator is not None:
        document.child(document.child(element, 'initiator'), 'iqn', {'name': iscsi.initiator})


def _build_nfs(parent: etree._Element, nfs: model.NfsSource) -> None:
    if not nfs.file or '/' in nfs.file:
        raise exception.InvalidDisk('an nfs file name is empty or holds a slash')
    if not nfs.export.startswith('/') or (nfs.export.endswith('/') and nfs.export != '/'):
        raise exception.InvalidDisk('an nfs export must be absolute, without a slash at its end')
    if nfs.host.port is not None:
        raise exception.InvalidDisk('libvirt takes no port for nfs')
    element = _network(parent, 'nfs', nfs.name)
    _build_host(element, nfs.host)
    # The schema demands the element; without attributes QEMU presents its own uid and gid.
    identity = nfs.identity or model.Identity()
    document.child(
        element,
        'identity',
        {'user': _numeric_id(identity.user), 'group': _numeric_id(identity.group)},
    )


def _build_nbd(parent: etree._Element, nbd: model.NbdSource) -> None:
    if (nbd.host is None) == (nbd.socket is None):
        raise exception.InvalidDisk('an nbd export is reached by a host or by a socket')
    if not nbd.export:
        raise exception.InvalidDisk('the name of an nbd export is empty')
    if nbd.tls and nbd.host is None:
        raise exception.InvalidDisk('TLS goes over TCP only')
    element = _network(parent, 'nbd', nbd.export)
    if nbd.tls:
        element.set('tls', 'yes')
    if nbd.host is not None:
        _build_host(element, nbd.host)
    else:
        document.child(
            element, 'host', {'transport': 'unix', 'socket': _absolute(nbd.socket or '')}
        )


def _numeric_id(value: int | None) -> str | None:
    """A plus sign keeps libvirt from looking a number up as a name (virGetUserID)."""
    if value is None:
        return None
    if not 0 <= value < (1 << 32) - 1:
        raise exception.InvalidDisk('a uid or gid is not an unsigned number of 32 bits')
    return f'+{value}'


# ---------------------------------------------------------------- parsing


class _Foreign(Exception):
    """The element holds what the typed source can't express."""


def parse(disk_like: etree._Element) -> model.Source:
    """Return the source of a ``<disk>``, ``<mirror>`` or ``<backingStore>``. Never raises."""
    kind = disk_like.get('type', 'file')
    element = disk_like.find('source')
    if element is None:
        legacy = disk_like.get('file') if disk_like.tag == 'mirror' else None
        return model.FileSource(legacy) if legacy else model.OtherSource('empty', '')
    label = element.get('protocol', kind) if kind == 'network' else kind
    parser = _PARSERS.get(label)
    if parser is not None:
        try:
            source = parser(element, disk_like)
            build(etree.Element('disk'), source)
        except (_Foreign, exception.InvalidDisk):
            pass
        else:
            return source
    return model.OtherSource(label, _fingerprint(kind, element))


def _fingerprint(kind: str, element: etree._Element) -> str:
    clone = copy.deepcopy(element)
    clone.tail = None
    for name in _VOLATILE_ATTRIBUTES & set(clone.attrib):
        del clone.attrib[name]
    for node in list(clone):
        # Secrets are cited by other ids on another host or in another life.
        if node.tag in _VOLATILE_CHILDREN or node.tag == 'auth':
            clone.remove(node)
    for node in clone.iter():
        if node.text is not None and not node.text.strip():
            node.text = None
        node.tail = None
    return f'{kind} {etree.tostring(clone, method="c14n").decode()}'


def _only(element: etree._Element, attributes: set[str], children: set[str]) -> None:
    if set(element.attrib) - attributes - _VOLATILE_ATTRIBUTES:
        raise _Foreign
    for child in element:
        known = child.tag in children or child.tag in _VOLATILE_CHILDREN
        # A part of a volume is another volume, unless it is the first part.
        if not known and (child.tag != slices.TAG or slices.read(child) is None):
            raise _Foreign


def _parse_host(element: etree._Element) -> model.Host:
    name, port_text = element.get('name'), element.get('port')
    port = grammar.unsigned(port_text, 65535)
    if not name or element.get('transport', 'tcp') != 'tcp' or (port_text and port is None):
        raise _Foreign
    return model.Host(name, port or None)


def _parse_auth(element: etree._Element, disk_like: etree._Element) -> model.Auth | None:
    # Older XML has <auth> beside <source>, where libvirt leaves it.
    node = element.find('auth')
    if node is None:
        node = disk_like.find('auth')
    if node is None:
        return None
    secret = node.find('secret')
    if secret is None:
        raise _Foreign
    try:
        usage_type = model.SecretUsage(secret.get('type'))
    except ValueError as exc:
        raise _Foreign from exc
    return model.Auth(node.get('username', ''), xml_secret.referred(secret, usage_type))


def _parse_rbd(element: etree._Element, disk_like: etree._Element) -> model.Source:
    _only(element, {'protocol', 'name'}, {'host', 'auth', 'config'})
    parts = element.get('name', '').split('/')
    if not 2 <= len(parts) <= 3:
        raise _Foreign
    config = element.find('config')
    return model.RbdSource(
        pool=parts[0],
        image=parts[-1],
        namespace=parts[1] if len(parts) == 3 else None,
        hosts=tuple(_parse_host(h) for h in element.findall('host')),
        auth=_parse_auth(element, disk_like),
        config_file=None if config is None else config.get('file'),
    )


def _parse_iscsi(element: etree._Element, disk_like: etree._Element) -> model.Source:
    _only(element, {'protocol', 'name'}, {'host', 'auth', 'initiator'})
    target, _, lun_text = element.get('name', '').partition('/')
    lun = grammar.unsigned(lun_text or '0')
    hosts = element.findall('host')
    if lun is None or len(hosts) != 1:
        raise _Foreign
    iqn = element.find('initiator/iqn')
    return model.IscsiSource(
        target=target,
        lun=lun,
        portal=_parse_host(hosts[0]),
        auth=_parse_auth(element, disk_like),
        initiator=None if iqn is None else iqn.get('name'),
    )


def _parse_nfs(element: etree._Element, _disk_like: etree._Element) -> model.Source:
    _only(element, {'protocol', 'name'}, {'host', 'identity'})
    export, _, file = element.get('name', '').rpartition('/')
    hosts = element.findall('host')
    if len(hosts) != 1:
        raise _Foreign
    identity = element.find('identity')
    return model.NfsSource(
        host=_parse_host(hosts[0]),
        export=export or '/',
        file=file,
        identity=None if identity is None else _parse_identity(identity),
    )


def _parse_nbd(element: etree._Element, _disk_like: etree._Element) -> model.Source:
    _only(element, {'protocol', 'name', 'tls'}, {'host'})
    hosts = element.findall('host')
    if len(hosts) != 1:
        raise _Foreign
    socket = hosts[0].get('socket') if hosts[0].get('transport') == 'unix' else None
    return model.NbdSource(
        export=element.get('name', ''),
        host=None if socket is not None else _parse_host(hosts[0]),
        socket=socket,
        tls=element.get('tls') == 'yes',
    )


def _parse_identity(element: etree._Element) -> model.Identity | None:
    ids: list[int | None] = []
    for name in ('user', 'group'):
        text = element.get(name)
        value = grammar.unsigned(text.removeprefix('+')) if text is not None else None
        if text is not None and value is None:
            raise _Foreign
        ids.append(value)
    return None if ids == [None, None] else model.Identity(*ids)


def _parse_file(element: etree._Element, _disk_like: etree._Element) -> model.Source:
    _only(element, {'file'}, set())
    return model.FileSource(element.get('file', ''))


def _parse_block(element: etree._Element, _disk_like: etree._Element) -> model.Source:
    _only(element, {'dev'}, set())
    return model.BlockSource(element.get('dev', ''))


def _parse_qemu(element: etree._Element, _disk_like: etree._Element) -> model.Source:
    # Not libvirt's: so our journal and our mark keep what libvirt has no name for.
    _only(element, {'options'}, set())
    try:
        options = json.loads(element.get('options', ''))
    except ValueError as exc:
        raise _Foreign from exc
    if not isinstance(options, dict):
        raise _Foreign
    return model.QemuSource(element.get('options', ''))


_PARSERS: dict[str, Callable[[etree._Element, etree._Element], model.Source]] = {
    'rbd': _parse_rbd,
    'iscsi': _parse_iscsi,
    'nfs': _parse_nfs,
    'nbd': _parse_nbd,
    'file': _parse_file,
    'block': _parse_block,
    'qemu': _parse_qemu,
}
