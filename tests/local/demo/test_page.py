"""The page: whole, closed to the outside, and not to be broken by a file's name."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import local.demo
from local.demo.beds import Bed
from local.demo.comparison import Comparison
from local.demo.inlined import LARGE_BYTES, inlined
from local.demo.page import Told, page
from local.demo.plan import Ask

HOSTILE = "\"><script>alert('1')</script>&amp;<img src=x onerror=alert(2)>.jpg"
VOID = {"meta", "link", "img", "br"}


class Reader(HTMLParser):
    """Notes the elements, and that each is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def told(done, rejected):
    def make(path="bed.jpg", missing=()):
        answers = [
            done(Ask("upload", "tenant-001", path)),
            done(Ask("message", "tenant-001", path, request_id=path, options={"confidence_threshold": 0.5})),
            done(Ask("message", "tenant-001", path, note="already done", verdict="duplicate")),
            rejected(error={"sentence": f"No {path}"}),
        ]
        return Told(
            answers=answers,
            pictures={position: inlined(answers[position].annotated) for position in (0, 1)},
            files={0: f"results/upload/tenant-001/{path}/annotated.jpg", 1: "results/a b.jpg"},
            missing=missing,
            took_s=12.3,
        )

    return make


@pytest.mark.parametrize("path", ["bed.jpg", "a & b/ü.webp", HOSTILE])
def test_every_element_is_closed_and_every_picture_is_inlined(told, path):
    html = Reader(page(told(path)))
    assert html.open == []
    pictures = html.all("img")
    assert len(pictures) == 4  # small and large, of two answers
    assert all(picture["src"].startswith("data:image/jpeg;base64,") for picture in pictures)
    assert all(path in picture["alt"] for picture in pictures)
    assert html.all("html") == [{"lang": "en"}]
    assert len(html.all("script")) == len(html.all("style")) == 1
    assert any(path in text for text in html.texts)


@pytest.mark.parametrize("path", ["bed.jpg", HOSTILE])
def test_nothing_is_loaded_from_anywhere(told, path):
    text = page(told(path))
    assert not re.search(r"https?://", text)
    assert "default-src 'none'" in text
    html = Reader(text)
    loaded = [value for _, each in html.elements for name, value in each.items() if name in {"src", "srcset"}]
    assert all(value.startswith("data:") for value in loaded)
    assert not [name for _, each in html.elements for name in each if name.startswith("on")]


def test_a_card_leads_to_the_large_picture_and_without_a_script_to_its_file(told):
    html = Reader(page(told("a b.jpg")))
    links, dialogs = html.all("a"), html.all("dialog")
    assert [link["data-large"] for link in links] == [dialog["id"] for dialog in dialogs]
    assert links[0]["href"] == "results/upload/tenant-001/a%20b.jpg/annotated.jpg"


def shown(*answers):
    """The page of answers that all have a picture."""
    return page(
        Told(
            answers=answers,
            pictures={place: inlined(answer.annotated) for place, answer in enumerate(answers)},
            files={},
            missing=[],
            took_s=1.0,
        )
    )


def test_who_counted_in_beds_is_shown_large_with_a_line_for_each(done):
    text = shown(done(beds=[Bed("bed 1", 230, 229, 1), Bed("bed <2>", 63, 61, 2)]))
    html = Reader(text)
    assert html.open == []
    assert [each["class"] for each in html.all("li")] == ["card wide"]
    assert "<tr><th>bed 1</th><td>229</td><td>230</td></tr>" in text
    assert "<tr><th>bed &lt;2&gt;</th><td>61</td><td>63</td></tr>" in text


def test_a_class_is_shown_with_how_sure_it_is_and_whether_it_is_right(done):
    classes = [{"label": "dry", "confidence": 0.93}, {"label": "healthy", "confidence": 0.07}]
    seen = Comparison({"healthy": 0, "dry": 1}, {"dry": 1}, {"dry": 1})
    text = shown(done(comparison=seen, document={"classification": classes}))
    assert "<span>dry, as it is</span><b>93%</b>" in text
    assert "<span>healthy</span><b>7%</b>" in text
    assert "in place</span>" not in text
    assert Reader(text).all("img")[0]["alt"] == "bed.jpg of tenant-001: dry 93%, healthy 7%"


def test_an_upload_that_is_only_there_to_be_asked_about_is_a_line(done):
    html = Reader(shown(done(Ask("upload", "tenant-001", "close-up.jpg", aside=True))))
    assert html.all("img") == []
    assert any("close-up.jpg" in text for text in html.texts)


def test_every_model_that_answered_is_named_with_its_labels_and_generations(done):
    bed = {"uri": "gs://m/segment.onnx", "generation": 5, "labels": ["bed"]}
    plant = {"uri": "gs://m/detect.onnx", "generation": 8, "labels": ["plant"]}
    text = shown(done(), done(document={"models": {"detect": plant, "segment": bed}}))
    assert '<span>segment: <code>bed</code>, generation <span class="mono">5</span></span>' in text
    assert 'generations <span class="mono">7</span>, then <span class="mono">8</span>' in text
    assert "<dd>2</dd>" in text.split("models, each used for its own tenant")[1].partition("</div>")[0]


def test_what_did_not_happen_is_said_on_the_page(told):
    assert "Not all of it happened" not in page(told())
    assert "<li>tenant-001 &lt;b&gt;: no result.json</li>" in page(
        told(missing=["tenant-001 <b>: no result.json"])
    )


def test_a_page_of_nothing_is_still_a_page():
    html = Reader(page(Told(answers=[], pictures={}, files={}, missing=[], took_s=0.0)))
    assert html.open == []
    assert html.all("img") == []


def test_templates_name_no_address():
    for path in Path(local.demo.__file__).parent.glob("page.*"):
        assert "http://" not in path.read_text(encoding="utf-8")
        assert "https://" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("size_wh", [(640, 480), (4000, 3000), (900, 3600)])
def test_a_picture_is_inlined_at_a_sane_size(size_wh):
    grain = np.random.default_rng(0).integers(0, 255, (size_wh[1] // 8, size_wh[0] // 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(grain).resize(size_wh).save(file, "JPEG")
    picture = inlined(file.getvalue())
    large, thumb = (
        base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")) for uri in (picture.large, picture.thumb)
    )
    assert len(large) <= LARGE_BYTES
    with Image.open(io.BytesIO(large)) as opened:
        assert opened.size == picture.size_wh
        assert max(opened.size) <= min(1600, max(size_wh))
        assert opened.width / opened.height == pytest.approx(size_wh[0] / size_wh[1], rel=0.01)
    with Image.open(io.BytesIO(thumb)) as opened:
        assert max(opened.size) <= 640
