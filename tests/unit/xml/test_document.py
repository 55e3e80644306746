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
"""The parser gives nothing away and takes no orders from what it reads."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from blockmirror_driver import exception
from blockmirror_driver.xml import document

BOMB = """<!DOCTYPE a [
<!ENTITY b "xxxxxxxxxx"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;">
]><a>&d;</a>"""


class TestParse(unittest.TestCase):
    def refused(self, text: str | bytes) -> str:
        with self.assertRaises(exception.InvalidDisk) as caught:
            document.parse(text)
        return str(caught.exception)

    def test_a_document_type_is_refused(self) -> None:
        for text in (BOMB, '<!DOCTYPE a><a/>', '<!DOCTYPE a SYSTEM "http://192.0.2.1/x"><a/>'):
            self.assertIn('document type', self.refused(text))

    def test_no_file_is_read(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            secret = Path(folder) / 'secret'
            secret.write_text('c4n4ry')
            url = secret.as_uri()
            self.refused(f'<!DOCTYPE a [<!ENTITY b SYSTEM "{url}">]><a>&b;</a>')
            xinclude = (
                f'<a xmlns:x="http://www.w3.org/2001/XInclude"><x:include href="{url}"/></a>'
            )
            self.assertNotIn('c4n4ry', document.to_text(document.parse(xinclude)))

    def test_depth_is_limited(self) -> None:
        self.refused('<a>' * 5000 + '</a>' * 5000)

    def test_nothing_is_quoted(self) -> None:
        for text in ('<a><c4n4ry></b></a>', '<a c4n4ry=c4n4ry/>', '<a>&c4n4ry;</a>', 'c4n4ry'):
            self.assertNotIn('c4n4ry', self.refused(text))

    def test_the_place_is_told(self) -> None:
        self.assertIn('line 3', self.refused('<a>\n\n</b>'))

    def test_another_root(self) -> None:
        with self.assertRaises(exception.InvalidDisk):
            document.parse('<a/>', 'b')

    def test_comments_are_dropped(self) -> None:
        self.assertEqual('<a/>', document.to_text(document.parse('<a><!-- x --><?y z?></a>')))


class TestChild(unittest.TestCase):
    def test_what_xml_cannot_hold(self) -> None:
        root = document.parse('<a/>')
        for text in ('\0', '\x1b', '\ud800', '\uffff', b'\xff'):
            with self.subTest(text):
                with self.assertRaises(exception.InvalidDisk):
                    document.child(root, 'b', {'c': text})  # type: ignore[dict-item]
                with self.assertRaises(exception.InvalidDisk):
                    document.child(root, 'b', text=text)  # type: ignore[arg-type]
