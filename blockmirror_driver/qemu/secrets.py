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
"""Secrets for QEMU's own tools, handed over in memory.

A value goes into an anonymous file of the kernel (memfd) whose descriptor the tool inherits: it
is in no argument, environment, file system or log, and it is gone with the two processes.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from blockmirror_driver.model import Secret


@dataclass(frozen=True, slots=True)
class Handed:
    """What the tool is started with: its arguments, and the descriptors that it inherits."""

    arguments: tuple[str, ...]
    descriptors: tuple[int, ...]


@contextlib.contextmanager
def descriptor(secret: Secret) -> Iterator[int]:
    """Hold the value in a file without a name, and give its descriptor.

    Whoever is handed it may open it anew by its number, as whatever user it runs as.
    """
    number = os.memfd_create('blockmirror')
    try:
        os.fchmod(number, 0o444)
        os.write(number, secret.reveal())
        yield number
    finally:
        os.close(number)


@contextlib.contextmanager
def handed(secrets: Mapping[str, Secret]) -> Iterator[Handed]:
    """Hold the secrets open while a tool runs that needs them.

    :param secrets: values by the ids that the tool's other arguments cite.
    """
    with contextlib.ExitStack() as stack:
        arguments: list[str] = []
        descriptors: list[int] = []
        for name, secret in secrets.items():
            number = stack.enter_context(descriptor(secret))
            described = {'qom-type': 'secret', 'id': name, 'file': f'/proc/self/fd/{number}'}
            arguments += ['--object', json.dumps(described)]
            descriptors.append(number)
        yield Handed(tuple(arguments), tuple(descriptors))
