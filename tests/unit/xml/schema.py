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
"""libvirt's own RELAX NG schemas, as installed with it."""

from __future__ import annotations

import functools
import unittest
from pathlib import Path

from lxml import etree

FOLDER = Path('/usr/share/libvirt/schemas')

_START = """
<grammar xmlns="http://relaxng.org/ns/structure/1.0">
  <include href="{folder}/{file}">
    <start><ref name="{name}"/></start>
  </include>
</grammar>
"""


@functools.cache
def _schema(file: str, name: str) -> etree.RelaxNG:
    text = _START.format(folder=FOLDER.as_uri(), file=file, name=name)
    return etree.RelaxNG(etree.fromstring(text))


class SchemaTestCase(unittest.TestCase):
    """Has assertions that an XML text is valid."""

    maxDiff = None

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        if not FOLDER.is_dir():
            raise unittest.SkipTest(f'no schemas of libvirt in {FOLDER}')

    def assert_valid(self, text: str, file: str = 'domain.rng', name: str = 'disk') -> None:
        schema = _schema(file, name)
        if not schema.validate(etree.fromstring(text)):
            self.fail(f'{schema.error_log.last_error}\n{text}')

    def assert_valid_domain(self, text: str) -> None:
        self.assert_valid(text, name='domain')

    def assert_valid_secret(self, text: str) -> None:
        self.assert_valid(text, file='secret.rng', name='secret')
