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
"""Names of the secrets that a disk needs, before libvirt has them.

A driver makes no secret in libvirt: it says what the disk needs and cites it by a usage
that is derived from the volume. The secret store gives it a life and a uuid.
"""

from __future__ import annotations

import hashlib

from blockmirror_driver.model import Auth, Secret, SecretRef, SecretSpec, SecretUsage


def cite(
    usage_type: SecretUsage, username: str, value: bytes, volume: str
) -> tuple[Auth, SecretSpec]:
    """Return the ``<auth>`` that cites a secret, and the secret.

    :param volume: what tells the volume from others; only its hash is seen.
    """
    usage = name(usage_type, username, volume)
    spec = SecretSpec(usage_type, usage, Secret(value))
    return Auth(username, SecretRef(usage_type, usage=usage)), spec


def name(usage_type: SecretUsage, username: str, volume: str) -> str:
    """Return the placeholder of a secret; ``username`` is empty where there is none."""
    digest = hashlib.sha256(f'{usage_type.value}\0{username}\0{volume}'.encode()).hexdigest()
    return f'blockmirror.{usage_type.value}.{digest[:16]}'
