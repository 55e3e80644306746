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
"""P7: no byte of a secret in any artefact. Runs last, over what all other tests left."""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import threading
from pathlib import Path
from urllib.parse import quote

import testtools

from tests.functional.base import LabTestCase
from tests.lab.lab import Lab


def forms(secret: str) -> list[bytes]:
    """The ways in which a secret may be written down."""
    raw = secret.encode()
    once = base64.b64encode(raw)
    found = {raw, once, quote(secret, safe='').encode(), json.dumps(secret)[1:-1].encode()}
    # The passphrase that a key of a key manager becomes.
    found.add(raw.hex().encode())
    with contextlib.suppress(ValueError):
        found.add(base64.b64decode(secret, validate=True))
    return sorted(found)


def search(canaries: list[str], paths: list[Path]) -> list[str]:
    """Return ``path: nth canary`` for each file that holds a form of a canary."""
    needles = [(number, form) for number, text in enumerate(canaries) for form in forms(text)]
    hits = []
    for path in paths:
        try:
            data = path.read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        hits += [f'{path}: canary {number}' for number, needle in needles if needle in data]
    return hits


def argvs() -> list[Path]:
    """The command lines and environments of all processes."""
    found: list[Path] = []
    for process in Path('/proc').iterdir():
        if process.name.isdigit():
            found += [process / 'cmdline', process / 'environ']
    return found


def logs(lab: Lab) -> list[Path]:
    """Whatever was written down: our output and journals, the daemons' logs, stored XML."""
    found = [path for path in lab.artefacts_dir.rglob('*') if path.is_file()]
    for directory in ('/var/log/libvirt', '/etc/libvirt/qemu', '/run/libvirt/qemu'):
        found += [
            path for path in Path(directory).rglob('*')
            if path.is_file() and path.name != 'master-key.aes'
        ]  # fmt: skip
    return found


class SecretsTest(LabTestCase):
    def test_no_secret_in_any_artefact(self) -> None:
        paths = logs(self.lab)
        self.assertGreater(len(paths), 1)
        self.assertEqual([], search(self.lab.secrets(), paths))

    def test_no_secret_in_any_argv_or_xml_during_a_swap(self) -> None:
        source = self.volume('iscsi', filled=True)
        destination = self.volume('rbd', give_keyring=True)
        guest = self.writing_guest(source)
        hits: list[str] = []
        stop = threading.Event()

        def watch() -> None:
            while not stop.is_set():
                hits.extend(search(self.lab.secrets(), argvs()))
                stop.wait(0.2)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            self.assert_ok(self.swap(guest, destination))
        finally:
            stop.set()
            watcher.join()
        self.assertEqual([], hits)
        dump = self.command.home / 'domain.xml'
        secure = 1  # VIR_DOMAIN_XML_SECURE: with whatever libvirt would show
        dump.write_text(guest.domain.XMLDesc(secure))
        self.assertEqual([], search(self.lab.secrets(), logs(self.lab)))
        for name in self.our_secrets():
            secret = self.lab.connect().secretLookupByUUIDString(name)
            self.assertIn("private='yes'", secret.XMLDesc(0))
        self.assert_survived(guest, destination)

    def test_no_core_file_is_left(self) -> None:
        """One of a process that dies of a signal would hold what it knew."""
        source, destination = self.volume('file', filled=True), self.volume('iscsi')
        guest = self.writing_guest(source)
        argv = ['swap', guest.name, 'vda', self.connection(destination), '--hold']
        running = self.command.start(*argv, '--events', 'jsonl')
        running.wait_state('held')
        limits = Path(f'/proc/{running.process.pid}/limits').read_text().splitlines()
        (core,) = (line for line in limits if line.startswith('Max core file size'))
        self.assertEqual(['0', '0', 'bytes'], core.split()[-3:])
        running.kill(signal.SIGINT)
        self.assertEqual(5, running.wait().code)
        guest.stop_writers()

    def test_a_planted_canary_is_found(self) -> None:
        """The search itself works, in each form in which a secret may be written."""
        for number, secret in enumerate(self.lab.secrets()):
            for form in forms(secret):
                planted = self.command.home / 'planted.log'
                planted.write_bytes(b'something ' + form + b' something')
                self.assertIn(f'{planted}: canary {number}', search(self.lab.secrets(), [planted]))
                planted.unlink()


class FormsTest(testtools.TestCase):
    def test_the_forms_differ(self) -> None:
        self.assertGreaterEqual(len(forms('pass"word/+')), 4)
