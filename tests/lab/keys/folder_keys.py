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

castellan takes it by ``[key_manager] backend``; the folder stands in ``[folder_keys]``. The
cloud's services find it by the path of this directory, in which nothing else may be.
"""

from __future__ import annotations

import secrets
import uuid
from pathlib import Path
from typing import Any, NoReturn

from castellan.common import exception
from castellan.common.objects import symmetric_key
from castellan.key_manager import key_manager
from oslo_config import cfg

#: As the cloud's services name it, and as the tests do.
SERVICES_BACKEND = 'folder_keys.FolderKeyManager'
BACKEND = 'tests.lab.keys.folder_keys.FolderKeyManager'
_GROUP = 'folder_keys'


def configuration(folder: Path, backend: str = BACKEND) -> dict[str, dict[str, Any]]:
    """The sections of a configuration file that lead to it."""
    return {'key_manager': {'backend': backend}, _GROUP: {'folder': folder}}


def as_text(sections: dict[str, dict[str, Any]]) -> str:
    """Sections as they stand in a file."""
    lines = []
    for name, options in sections.items():
        lines.append(f'[{name}]')
        lines += [f'{option} = {value}' for option, value in options.items()]
    return '\n'.join(lines) + '\n'


class FolderKeyManager(key_manager.KeyManager):
    """Makes, gives and deletes symmetric keys."""

    def __init__(self, configuration: cfg.ConfigOpts | None) -> None:
        assert configuration is not None
        configuration.register_opts([cfg.StrOpt('folder')], group=_GROUP)
        self._folder = Path(configuration[_GROUP].folder)

    def create_key(
        self, context: Any, algorithm: str, length: int, *_more: Any, **_named: Any
    ) -> str:
        key_id = str(uuid.uuid4())
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / key_id
        path.touch(mode=0o600)
        path.write_bytes(secrets.token_bytes(length // 8))
        return key_id

    def get(
        self, context: Any, managed_object_id: str, metadata_only: bool = False
    ) -> symmetric_key.SymmetricKey:
        if context is None:
            raise exception.Forbidden
        try:
            value = (self._folder / managed_object_id).read_bytes()
        except FileNotFoundError as error:
            raise exception.ManagedObjectNotFoundError(uuid=managed_object_id) from error
        return symmetric_key.SymmetricKey('AES', 8 * len(value), value)

    def delete(self, context: Any, managed_object_id: str, force: bool = False) -> None:
        (self._folder / managed_object_id).unlink(missing_ok=True)

    def _unused(self, *_args: Any, **_more: Any) -> NoReturn:
        raise NotImplementedError

    create_key_pair = store = _unused
    add_consumer = remove_consumer = _unused
