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
"""Keys of encrypted volumes, fetched from where castellan keeps them.

Which key manager that is (Barbican, Vault, a class of the operator's own) stands in the group
``[key_manager]`` of the configuration, whose options are castellan's. So are its credentials.
"""

from __future__ import annotations

import binascii
import contextlib
import logging
import uuid
from collections.abc import Iterator
from typing import Any

from oslo_config import cfg

from blockmirror_driver import exception
from blockmirror_driver.model import Secret


def fetch(key_id: str, conf: cfg.ConfigOpts) -> Secret:
    """Return the passphrase of a volume whose key has this id. It may ask servers.

    :param key_id: ``encryption_key_id`` in Cinder's ``GET /volumes/{id}/encryption``.
    :param conf: holds ``[key_manager]``; castellan's options are registered on it.
    :raise UsageError: the id is no UUID.
    :raise SecretUnavailable: castellan is not installed, or does not give the key.
    """
    _check(key_id)
    try:
        from castellan import key_manager
        from castellan.common import exception as refusals
    except ImportError as error:
        raise exception.SecretUnavailable(
            'keys are fetched by castellan, which is not installed',
            hint='pip install blockmirror-driver[castellan], or give the key with --key-file',
        ) from error
    with _quiet():
        try:
            manager = key_manager.API(conf)
            key = passphrase(manager.get(_credentials(conf), key_id).get_encoded() or b'')
        except refusals.CastellanException as error:
            raise _unavailable(key_id, str(error)) from error
        except Exception as error:
            # A foreign exception may quote the request, which has the credentials in it.
            raise _unavailable(key_id, type(error).__name__) from error
    if not key:
        raise _unavailable(key_id, 'it is empty')
    return key


def passphrase(encoded: bytes) -> Secret:
    """Return what a volume with this key is formatted with.

    Nova, Cinder and os-brick take the hexadecimal digits of the key (``_attach_encryptor`` in
    nova/virt/libvirt/driver.py).
    """
    return Secret(binascii.hexlify(encoded))


def _check(key_id: str) -> None:
    # It becomes a part of an URL.
    try:
        uuid.UUID(key_id)
    except ValueError as error:
        raise exception.UsageError(
            f"not a key's id: {key_id[:40]!r}", hint='it is a UUID, the encryption_key_id'
        ) from error


def _credentials(conf: cfg.ConfigOpts) -> Any:
    """Return what ``[key_manager] auth_type`` and its neighbours say, if they say anything.

    Vault has credentials in a group of its own, and only wants to see a context.
    """
    from castellan.common import utils
    from oslo_context import context

    conf.register_opts(utils.credential_opts, group=utils.OPT_GROUP)
    if conf[utils.OPT_GROUP].auth_type is None:
        return context.RequestContext()
    return utils.credential_factory(conf=conf)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let nothing be logged meanwhile: what matters comes as an exception.

    At debug level keystoneauth logs answers, of which one is the key; what a class of the
    operator's own logs is anyone's guess.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _unavailable(key_id: str, reason: str) -> exception.SecretUnavailable:
    return exception.SecretUnavailable(
        f'the key manager does not give key {key_id}: {reason}',
        hint='check [key_manager] of the configuration: backend, auth_type and its credentials',
    )
