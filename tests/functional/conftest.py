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
"""``--shard K/N``: run only every Nth functional test, from the Kth on."""

from __future__ import annotations

import pytest

#: What looks at all that the tests of one lab have left runs in each of them, at the end.
_IN_EVERY_SHARD = 'test_zz_secrets.py'


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption('--shard', default='1/1', help='K/N: every Nth test from the Kth on')


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep this shard's tests, in their order."""
    number, of = map(int, config.getoption('--shard').split('/'))
    shared = [item for item in items if item.path.name == _IN_EVERY_SHARD]
    own = [item for item in items if item not in shared]
    items[:] = [*own[number - 1 :: of], *shared]
