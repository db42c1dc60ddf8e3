"""The recorded events of tests/events/*.json: an entry point, headers and a body, as the platforms post them.

All are about one image; `with_image` puts another in its place, inside base64 too.
"""

import base64
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

FOLDER: Final = Path(__file__).parents[1] / "tests" / "events"
NAMES: Final = sorted(path.stem for path in FOLDER.glob("*.json"))
BUCKET, TENANT_ID, PATH, GENERATION = "nursery-uploads", "tenant-001", "beds/bed 7.jpg", 1795380285104925

_BASE64_DATA: Final = re.compile(r'("data(?:_base64)?": ")([A-Za-z0-9+/=]+)"')


@dataclass(frozen=True)
class RecordedEvent:
    """An HTTP request to an entry point."""

    entry_point: str
    headers: dict[str, str]
    body: bytes

    def with_image(self, bucket: str, generation: int) -> Self:
        """Return the event for another bucket and generation of the image."""

        def replace_image(text: str) -> str:
            text = text.replace(BUCKET, bucket).replace(str(GENERATION), str(generation))
            return _BASE64_DATA.sub(
                lambda match: f'{match[1]}{encode_base64(replace_image(decode_base64(match[2])))}"', text
            )

        headers = {name: replace_image(value) for name, value in self.headers.items()}
        return replace(self, headers=headers, body=replace_image(self.body.decode()).encode())


def load(name: str) -> RecordedEvent:
    """Read the event that was recorded under `name`."""
    event = json.loads((FOLDER / f"{name}.json").read_text())
    body = b"" if event["body"] is None else json.dumps(event["body"]).encode()
    return RecordedEvent(event["entry_point"], event["headers"], body)


def encode_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def decode_base64(text: str) -> str:
    return base64.b64decode(text).decode()
