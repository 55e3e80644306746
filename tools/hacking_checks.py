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
"""The project's own rules, as a flake8 plugin (see HACKING.rst).

- BM301 nothing of ours imports asyncio, eventlet or greenlet
- BM302 nothing of ours sleeps: wait on a queue, an event or a condition
- BM303 libvirt is imported in ``virt/`` only
- BM304 XML libraries are imported in ``xml/`` only
- BM305 a secret is revealed in the ``secrets.py`` of ``virt/`` and ``qemu/`` only
- BM306 a log call gets its values as arguments, not formatted into the message
- BM307 what is raised belongs to our tree of errors
- BM308 nova and cinder are imported by their doors only, ``nova/`` and ``cinder/``

They hold for modules of ``blockmirror_driver``; tests and tools may do otherwise.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import PurePath

Finding = tuple[int, int, str, type]

PACKAGE = 'blockmirror_driver'
#: Where a secret's value is handed on: to libvirt, and to QEMU's own tools.
REVEALERS = frozenset({('virt', 'secrets.py'), ('qemu', 'secrets.py')})
LOG_METHODS = frozenset({'debug', 'info', 'warning', 'error', 'exception', 'critical', 'log'})
#: Builtins that tell a caller nothing; those of a protocol (TypeError, NotImplementedError,
#: StopIteration, SystemExit, KeyboardInterrupt) are left to who implements it.
FOREIGN_ERRORS = frozenset(
    {'ArithmeticError', 'BaseException', 'Exception', 'IndexError', 'KeyError', 'LookupError'}
    | {'OSError', 'RuntimeError', 'TimeoutError', 'ValueError'}
)


class Rule:
    """One thing that must not be imported outside of a room."""

    def __init__(self, code: str, modules: str, text: str, room: str = '') -> None:
        self.code = code
        self.modules = frozenset(modules.split())
        self.text = text
        self.room = room

    def finds(self, module: str, room: str) -> bool:
        """Tell whether importing ``module`` in ``room`` breaks the rule."""
        if self.room and self.room == room:
            return False
        parts = module.split('.')
        return any('.'.join(parts[:n]) in self.modules for n in range(1, len(parts) + 1))


IMPORTS = (
    Rule('BM301', 'asyncio eventlet greenlet', 'threads only: no {0}'),
    Rule('BM303', 'libvirt libvirt_qemu libvirtmod', '{0} belongs to virt/', 'virt'),
    Rule('BM304', 'lxml xml', '{0} belongs to xml/', 'xml'),
    Rule('BM308', 'nova', '{0} is imported by its door only', 'nova'),
    Rule('BM308', 'cinder', '{0} is imported by its door only', 'cinder'),
)


def room_of(filename: str) -> tuple[str, str] | None:
    """Return room and module of a file of ours, None for others' files."""
    parts = PurePath(filename).parts
    if PACKAGE not in parts:
        return None
    inside = parts[parts.index(PACKAGE) + 1 :]
    return (inside[0] if len(inside) > 1 else '', inside[-1])


class Checks:
    """The plugin; flake8 makes one per file."""

    name = 'blockmirror'
    version = '1'

    def __init__(self, tree: ast.AST, filename: str) -> None:
        self._tree = tree
        self._place = room_of(filename)

    def run(self) -> Iterator[Finding]:
        """Yield line, column, text and the plugin's class for each finding."""
        if self._place is None:
            return
        for node in ast.walk(self._tree):
            for text in self._findings(node):
                yield node.lineno, node.col_offset, text, type(self)  # type: ignore[attr-defined]

    def _findings(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from self._imported(alias.name)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield from self._imported(f'{node.module}.{alias.name}')
        elif isinstance(node, ast.Call):
            yield from self._called(node)
        elif isinstance(node, ast.Raise):
            yield from _raised(node)

    def _imported(self, module: str) -> Iterator[str]:
        assert self._place is not None
        for rule in IMPORTS:
            if rule.finds(module, self._place[0]):
                yield f'{rule.code} {rule.text.format(module.partition(".")[0])}'
        if module == 'time.sleep':
            yield 'BM302 wait on a queue or an event, do not sleep'

    def _called(self, node: ast.Call) -> Iterator[str]:
        if not isinstance(node.func, ast.Attribute):
            return
        owner = node.func.value
        if ast.unparse(node.func) == 'time.sleep':
            yield 'BM302 wait on a queue or an event, do not sleep'
        if node.func.attr == 'reveal' and self._place not in REVEALERS:
            yield 'BM305 only the secrets.py of virt/ and qemu/ reveals a secret'
        logs = isinstance(owner, ast.Name) and owner.id in ('LOG', 'log', 'logger')
        if logs and node.func.attr in LOG_METHODS and any(map(_formatted, node.args)):
            yield 'BM306 give the log call its values as arguments'


def _formatted(argument: ast.expr) -> bool:
    """Tell whether a log call's argument is a message that was formatted already."""
    if isinstance(argument, ast.JoinedStr):
        return True
    if isinstance(argument, ast.BinOp) and isinstance(argument.op, ast.Mod):
        return True
    call = argument.func if isinstance(argument, ast.Call) else None
    return (
        isinstance(call, ast.Attribute)
        and call.attr == 'format'
        and isinstance(call.value, ast.Constant)
    )


def _raised(node: ast.Raise) -> Iterator[str]:
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    if isinstance(raised, ast.Name) and raised.id in FOREIGN_ERRORS:
        yield f'BM307 raise an error of blockmirror_driver.exception, not {raised.id}'
