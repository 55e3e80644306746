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
"""A key manager of the tests' own: a folder that holds each key in a file named as its id.

castellan takes it by ``[key_manager] backend``; the folder stands in ``[folder_key_manager]``.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NoReturn

from castellan.common import exception
from castellan.common.objects import opaque_data
from castellan.key_manager import key_manager
from oslo_config import cfg

BACKEND = f'{__name__}.FolderKeyManager'

_GROUP = 'folder_key_manager'

LOG = logging.getLogger(__name__)


def configuration(folder: Path) -> str:
    """The sections of a configuration file that lead to it."""
    return f'[key_manager]\nbackend = {BACKEND}\n[{_GROUP}]\nfolder = {folder}\n'


class FolderKeyManager(key_manager.KeyManager):
    """Gives keys and does nothing else. It logs them, as a careless one might."""

    def __init__(self, configuration: cfg.ConfigOpts | None) -> None:
        assert configuration is not None
        configuration.register_opts([cfg.StrOpt('folder')], group=_GROUP)
        self._folder = Path(configuration[_GROUP].folder)

    def get(
        self, context: Any, managed_object_id: str, metadata_only: bool = False
    ) -> opaque_data.OpaqueData:
        if context is None:
            raise exception.Forbidden
        try:
            value = (self._folder / managed_object_id).read_bytes()
        except FileNotFoundError as error:
            raise exception.ManagedObjectNotFoundError(uuid=managed_object_id) from error
        LOG.critical('key %s is %r', managed_object_id, value)
        return opaque_data.OpaqueData(value)

    def _unused(self, *_args: Any, **_more: Any) -> NoReturn:
        raise NotImplementedError

    create_key = create_key_pair = store = delete = _unused
    add_consumer = remove_consumer = _unused
