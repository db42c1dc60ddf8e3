"""The events of tests/events/*.json: an entry point, headers and a body, as the platforms post them.

They tell of one image; `about` makes another one of it, inside the base64 too.
"""

import base64
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "tests" / "events"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
BUCKET, TENANT_ID, PATH, GENERATION = "nursery-uploads", "tenant-001", "beds/bed 7.jpg", 1795380285104925

_BASE64 = re.compile(r'("data(?:_base64)?": ")([A-Za-z0-9+/=]+)"')


@dataclass(frozen=True)
class Posted:
    entry_point: str
    headers: dict[str, str]
    body: bytes

    def about(self, bucket, generation):
        def changed(text):
            text = text.replace(BUCKET, bucket).replace(str(GENERATION), str(generation))
            return _BASE64.sub(lambda found: f'{found[1]}{encode(changed(decode(found[2])))}"', text)

        headers = {name: changed(value) for name, value in self.headers.items()}
        return replace(self, headers=headers, body=changed(self.body.decode()).encode())


def posted(name):
    event = json.loads((FOLDER / f"{name}.json").read_text())
    body = b"" if event["body"] is None else json.dumps(event["body"]).encode()
    return Posted(event["entry_point"], event["headers"], body)


def encode(text):
    return base64.b64encode(text.encode()).decode()


def decode(text):
    return base64.b64decode(text).decode()
