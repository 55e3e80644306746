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
"""Hosts and portals as Cinder's drivers write them."""

from __future__ import annotations

import re

from blockmirror_driver.exception import InvalidConnectionInfo
from blockmirror_driver.model import Host
from blockmirror_driver.xml import grammar

_PORT = re.compile(r'[0-9]{1,5}', re.ASCII)
_BRACKETED = re.compile(r'\[([^\[\]]*)\](?::(.*))?', re.DOTALL)
_HINT = 'a DNS name, an IPv4 address, or an IPv6 address without a zone'


def host(text: str, field: str) -> str:
    """Return a host without brackets.

    A dotted quad that is no address, such as 111.22.333.44, is taken for a name: that is
    what libvirt and the resolver do.

    :raise InvalidConnectionInfo: when it is neither a name nor an address.
    """
    text = text.strip()
    name = text[1:-1] if text.startswith('[') and text.endswith(']') else text
    is_plain_name = name == text and not name.startswith(('-', '.')) and grammar.is_host(name)
    if not is_plain_name and not grammar.is_address(name):
        raise InvalidConnectionInfo('is not a host', field=field, hint=_HINT)
    return name


def port(text: str, field: str) -> int:
    """Return a port from 1 to 65535.

    :raise InvalidConnectionInfo: when it is not one.
    """
    if not _PORT.fullmatch(text) or not 0 < int(text) < 1 << 16:
        raise InvalidConnectionInfo('is not a port within 1 to 65535', field=field)
    return int(text)


def portal(text: str, default_port: int, field: str) -> Host:
    """Read ``host``, ``host:port``, ``[v6]``, ``[v6]:port``, ``v6``, ``v6:port``.

    An IPv6 address without brackets is read whole if it is one, unless it ends in
    ``:<default port>`` and is an address without that too: then this is its port. What
    is no address as a whole (eight groups and one more) ends in a port.

    :raise InvalidConnectionInfo: for anything else.
    """
    text = text.strip()
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed:
        name, port_text = f'[{bracketed[1]}]', bracketed[2]
    elif text.count(':') > 1:
        address, _, last = text.rpartition(':')
        ends_in_default = last == str(default_port) and grammar.is_address(address)
        whole = grammar.is_address(text) and not ends_in_default
        name, port_text = (text, None) if whole else (f'[{address}]', last)
    else:
        name, colon, last = text.partition(':')
        port_text = last if colon else None
    return Host(host(name, field), default_port if port_text is None else port(port_text, field))
