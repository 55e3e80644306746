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
"""The one place where libvirt's errors become ours.

Codes are ``virErrorNumber``, domains ``virErrorDomain`` of ``libvirt/virterror.h``. Texts
are looked at only where one code stands for several things; they were read in libvirt's
source and seen in 9.0, and a text that no longer matches falls back to the general error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import libvirt

from blockmirror_driver import exception

Translation: TypeAlias = Callable[[libvirt.libvirtError, str], exception.BlockmirrorError]

#: Raised by the client's own RPC code when the stream to the daemon is gone.
_LOST_CODES = frozenset(
    {libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_RPC}
)
#: What libvirt says when the hypervisor refused to open or use the destination.
_OPENING_CODES = frozenset(
    {
        libvirt.VIR_ERR_INTERNAL_ERROR,
        libvirt.VIR_ERR_OPERATION_FAILED,
        libvirt.VIR_ERR_SYSTEM_ERROR,
    }
)
#: What libvirt says of a definition, and of a CPU that is not as it was defined.
_DEFINITION_CODES = frozenset(
    {
        libvirt.VIR_ERR_XML_ERROR,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_OPERATION_FAILED,
    }
)
#: Code, what the text must hold, and what it means to our callers.
_MEANINGS: tuple[tuple[int, str, type[exception.Refused]], ...] = (
    (libvirt.VIR_ERR_NO_DOMAIN, '', exception.DomainNotFound),
    (libvirt.VIR_ERR_NO_SECRET, '', exception.SecretUnavailable),
    (libvirt.VIR_ERR_BLOCK_COPY_ACTIVE, '', exception.DiskBusy),
    (libvirt.VIR_ERR_OPERATION_INVALID, 'being ended', exception.DiskBusy),
    (libvirt.VIR_ERR_OPERATION_INVALID, 'not running', exception.DomainNotFound),
    (libvirt.VIR_ERR_INVALID_ARG, 'not found in', exception.DiskNotFound),
    (libvirt.VIR_ERR_INVALID_ARG, 'not assigned to domain', exception.DiskNotFound),
    (libvirt.VIR_ERR_INVALID_ARG, 'secret with uuid', exception.SecretUnavailable),
)
_SECRET = re.compile(
    r"""(?ix) (?P<label> \b (?: pass(?:word|wd|phrase)? | secret | key | token ) ["']? \s* [=:] )
        \s* (?: "[^"]*" | '[^']*' | [^\s,;)}"']+ )"""
)
#: What QEMU's last words start with when it does not start: no reason is in there, but
#: the address of the server.
_PREAMBLE = re.compile(
    r'^(?:internal error: )?(?:qemu unexpectedly closed the monitor|process exited while '
    r"connecting to monitor)(?: \(vm='[^']*'\))?: "
    r'(?:.*-blockdev \{.*\}: |\S+Z qemu\S*: )?(?=\S)',
    re.IGNORECASE,
)
#: The end of the message when QEMU's last words are missing. Since 11 libvirt names the domain.
_NO_LAST_WORDS = re.compile(
    r'(?:qemu unexpectedly closed the monitor|process exited while connecting to monitor)'
    r"(?: \(vm='[^']*'\))?[: ]*$",
    re.IGNORECASE,
)
_USERINFO = re.compile(r'(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^/@\s]+@', re.IGNORECASE)


def swallow(context: Any, error: tuple[Any, ...]) -> None:
    """Take libvirt's errors off stderr; each reaches its caller as an exception."""


def code(error: libvirt.libvirtError) -> int:
    """Return libvirt's error code, 0 when the binding raised without one."""
    return error.get_error_code() or 0


def clean(error: libvirt.libvirtError) -> str:
    """Return libvirt's message as one line without anything that looks like a secret."""
    text = _PREAMBLE.sub('', exception.one_line(error.get_error_message() or error))
    text = _SECRET.sub(r'\g<label>***', text)
    return _USERINFO.sub(r'\g<scheme>***@', text)


def gives_no_reason(error: libvirt.libvirtError) -> bool:
    """Tell whether QEMU did not start and libvirt read its log before its last words came.

    libvirt sees the monitor close and the log in either order; the reason is then lost.
    """
    text = exception.one_line(error.get_error_message() or error)
    return _NO_LAST_WORDS.search(text) is not None


def is_connection_loss(error: libvirt.libvirtError) -> bool:
    """Tell whether the connection broke under the call, its outcome being unknown."""
    if code(error) == libvirt.VIR_ERR_INVALID_CONN:
        return True
    return error.get_error_domain() == libvirt.VIR_FROM_RPC and code(error) in _LOST_CODES


def is_no_metadata(error: libvirt.libvirtError) -> bool:
    """Tell whether the domain just has no metadata of the kind asked for."""
    return code(error) == libvirt.VIR_ERR_NO_DOMAIN_METADATA


def is_no_secret(error: libvirt.libvirtError) -> bool:
    """Tell whether the secret does not exist."""
    return code(error) == libvirt.VIR_ERR_NO_SECRET


def is_no_domain(error: libvirt.libvirtError) -> bool:
    """Tell whether the domain does not exist."""
    return code(error) == libvirt.VIR_ERR_NO_DOMAIN


def is_name_taken(error: libvirt.libvirtError) -> bool:
    """Tell whether a domain of that name exists under another uuid."""
    return code(error) == libvirt.VIR_ERR_OPERATION_FAILED and 'already exists' in str(error)


def blames_the_definition(error: libvirt.libvirtError, part: str) -> bool:
    """Tell whether libvirt may have refused a definition, rather than QEMU a volume.

    :param part: of the definition; an error that quotes it is meant, whatever its code.
    """
    return code(error) in _DEFINITION_CODES or part in str(error)


def translate(error: libvirt.libvirtError, what: str) -> exception.BlockmirrorError:
    """Return the error to raise, from ``error``, for the libvirt call ``what``."""
    number, text = code(error), clean(error)
    if is_connection_loss(error):
        return exception.HypervisorUnavailable(
            f'{what}: the connection to libvirt broke: {text}', code=number, outcome_unknown=True
        )
    for known, fragment, ours in _MEANINGS:
        if number == known and fragment in text:
            return ours(text)
    return exception.HypervisorUnavailable(f'{what}: {text}', code=number)


def translate_opening(error: libvirt.libvirtError, what: str) -> exception.BlockmirrorError:
    """Translate the error of a call that opens a destination."""
    if code(error) in _OPENING_CODES and not is_connection_loss(error):
        return exception.DestinationUnusable(clean(error))
    return translate(error, what)
