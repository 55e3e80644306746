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
"""``--shard K/N --claims FOLDER``: share the functional tests with processes beside this one.

All of them collect the same tests. Each takes one when it comes to it, unless another has; odd
ones go from the first test on, even ones from the last, so that they end together whatever a test
takes. A test that another process has is no test of this one, and is in no report of it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

#: What looks at all that the tests of one lab have left runs in each of them, at the end.
_IN_EVERY_SHARD = 'test_zz_secrets.py'


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    parser.addoption('--shard', default='1/1', help='K/N: one of N processes side by side')
    parser.addoption('--claims', help='the folder in which they tell which tests they have')


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the tests into the order of this shard."""
    number, _of = map(int, config.getoption('--shard').split('/'))
    shared = [item for item in items if item.path.name == _IN_EVERY_SHARD]
    own = [item for item in items if item not in shared]
    items[:] = [*(own if number % 2 else reversed(own)), *shared]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Leave out what another process has taken."""
    claims = item.config.getoption('--claims')
    if claims is None:
        return None
    if item.path.name == _IN_EVERY_SHARD or claim(Path(claims), item.nodeid):
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        # Which test comes next is not known, so nothing is left set up for it.
        runtestprotocol(item, nextitem=None)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def claim(folder: Path, name: str) -> bool:
    """Take a test for this process; whether nobody had it before."""
    path = folder / re.sub(r'[^\w.]', '-', name)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True
