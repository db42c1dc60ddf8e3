import base64
import io
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from PIL import Image

import local.demo
from local.demo.bed_counts import BedCount
from local.demo.comparison import Comparison
from local.demo.embedded_picture import MAX_LARGE_BYTES, embed_picture
from local.demo.page import Report, render_page
from local.demo.plan import Step
from local.demo.step_outcome import StepOutcome
from tests.local.demo.outcomes import MakeOutcome

HOSTILE = "\"><script>alert('1')</script>&amp;<img src=x onerror=alert(2)>.jpg"
VOID_ELEMENTS = {"meta", "link", "img", "br"}


class ParsedPage(HTMLParser):
    """Collects the elements and texts of a page, and checks that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, element: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((element, {name: value or "" for name, value in attrs}))
        if element not in VOID_ELEMENTS:
            self.open.append(element)

    def handle_endtag(self, element: str) -> None:
        assert self.open.pop() == element

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, element: str) -> list[dict[str, str]]:
        """Return the attributes of each element of that name."""
        return [attributes for name, attributes in self.elements if name == element]


class MakePage(Protocol):
    """Renders a page of four steps with an image of that path."""

    def __call__(self, path: str = "bed.jpg", unmet: Sequence[str] = ()) -> str: ...


@pytest.fixture
def make_page(make_done: MakeOutcome, make_rejected: MakeOutcome) -> MakePage:
    def make(path: str = "bed.jpg", unmet: Sequence[str] = ()) -> str:
        outcomes = [
            make_done(Step("upload", "tenant-001", path)),
            make_done(Step("message", "tenant-001", path, request_id=path, options={"confidence_threshold": 0.5})),
            make_done(Step("message", "tenant-001", path, comment="already done", expected_verdict="duplicate")),
            make_rejected(error={"text": f"No {path}"}),
        ]
        report = Report(
            outcomes=outcomes,
            pictures={index: embed_picture(outcomes[index].annotated or b"") for index in (0, 1)},
            files={0: f"results/upload/tenant-001/{path}/annotated.jpg", 1: "results/a b.jpg"},
            unmet=unmet,
            duration_s=12.3,
        )
        return render_page(report)

    return make


@pytest.mark.parametrize("path", ["bed.jpg", "a & b/ü.webp", HOSTILE])
def test_elements_are_closed_and_pictures_are_embedded(make_page: MakePage, path: str) -> None:
    html = ParsedPage(make_page(path))
    assert html.open == []
    pictures = html.all("img")
    assert len(pictures) == 4  # small and large, of two answers
    assert all(picture["src"].startswith("data:image/jpeg;base64,") for picture in pictures)
    assert all(path in picture["alt"] for picture in pictures)
    assert html.all("html") == [{"lang": "en"}]
    assert len(html.all("script")) == len(html.all("style")) == 1
    assert any(path in text for text in html.texts)


@pytest.mark.parametrize("path", ["bed.jpg", HOSTILE])
def test_page_loads_nothing(make_page: MakePage, path: str) -> None:
    text = make_page(path)
    assert not re.search(r"https?://", text)
    assert "default-src 'none'" in text
    html = ParsedPage(text)
    loaded = [value for _, each in html.elements for name, value in each.items() if name in {"src", "srcset"}]
    assert all(value.startswith("data:") for value in loaded)
    assert not [name for _, each in html.elements for name in each if name.startswith("on")]


def test_card_links_to_the_large_picture_and_to_its_file(make_page: MakePage) -> None:
    html = ParsedPage(make_page("a b.jpg"))
    links, dialogs = html.all("a"), html.all("dialog")
    assert [link["data-large"] for link in links] == [dialog["id"] for dialog in dialogs]
    assert links[0]["href"] == "results/upload/tenant-001/a%20b.jpg/annotated.jpg"


def page_of(*outcomes: StepOutcome) -> str:
    """Render a page on which every outcome has a picture."""
    pictures = {index: embed_picture(outcome.annotated or b"") for index, outcome in enumerate(outcomes)}
    return render_page(Report(outcomes=outcomes, pictures=pictures, files={}, unmet=[], duration_s=1.0))


def test_card_of_counted_beds_is_wide_and_has_a_row_for_each(make_done: MakeOutcome) -> None:
    text = page_of(make_done(beds=[BedCount("bed 1", 230, 229, 1), BedCount("bed <2>", 63, 61, 2)]))
    html = ParsedPage(text)
    assert html.open == []
    assert [each["class"] for each in html.all("li")] == ["card wide"]
    assert "<tr><th>bed 1</th><td>229</td><td>230</td></tr>" in text
    assert "<tr><th>bed &lt;2&gt;</th><td>61</td><td>63</td></tr>" in text


def test_classification_shows_confidences_and_the_correct_class(make_done: MakeOutcome) -> None:
    classes = [{"label": "dry", "confidence": 0.93}, {"label": "healthy", "confidence": 0.07}]
    comparison = Comparison({"healthy": 0, "dry": 1}, {"dry": 1}, {"dry": 1})
    text = page_of(make_done(comparison=comparison, document={"classification": classes}))
    assert "<span>dry (correct)</span><b>93%</b>" in text
    assert "<span>healthy</span><b>7%</b>" in text
    assert " matched</span>" not in text
    assert ParsedPage(text).all("img")[0]["alt"] == "bed.jpg of tenant-001: dry 93%, healthy 7%"


def test_upload_that_is_excluded_from_metrics_is_shown_as_a_line(make_done: MakeOutcome) -> None:
    html = ParsedPage(page_of(make_done(Step("upload", "tenant-001", "close-up.jpg", excluded_from_metrics=True))))
    assert html.all("img") == []
    assert any("close-up.jpg" in text for text in html.texts)


def test_models_are_listed_with_labels_and_generations(make_done: MakeOutcome) -> None:
    bed = {"uri": "gs://m/segment.onnx", "generation": 5, "labels": ["bed"]}
    plant = {"uri": "gs://m/detect.onnx", "generation": 8, "labels": ["plant"]}
    text = page_of(make_done(), make_done(document={"models": {"detect": plant, "segment": bed}}))
    assert '<span>segment: <code>bed</code>, generation <span class="mono">5</span></span>' in text
    assert 'generations <span class="mono">7</span>, then <span class="mono">8</span>' in text
    assert "<dd>2</dd>" in text.split("models, each used for its own tenant")[1].partition("</div>")[0]


def test_unmet_expectations_are_shown_as_a_warning(make_page: MakePage) -> None:
    assert "Some expectations were not met" not in make_page()
    assert "<li>tenant-001 &lt;b&gt;: no result.json</li>" in make_page(unmet=["tenant-001 <b>: no result.json"])


def test_page_without_outcomes_is_valid() -> None:
    html = ParsedPage(render_page(Report(outcomes=[], pictures={}, files={}, unmet=[], duration_s=0.0)))
    assert html.open == []
    assert html.all("img") == []


def test_templates_contain_no_address() -> None:
    templates = list((Path(local.demo.__file__).parent / "templates").iterdir())

    assert templates
    for path in templates:
        assert "http://" not in path.read_text(encoding="utf-8")
        assert "https://" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("size_wh", [(640, 480), (4000, 3000), (900, 3600)])
def test_embedded_pictures_are_limited_in_size(size_wh: tuple[int, int]) -> None:
    grain = np.random.default_rng(0).integers(0, 255, (size_wh[1] // 8, size_wh[0] // 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(grain).resize(size_wh).save(file, "JPEG")
    picture = embed_picture(file.getvalue())
    large, thumbnail = (
        base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")) for uri in (picture.large, picture.thumbnail)
    )
    assert len(large) <= MAX_LARGE_BYTES
    with Image.open(io.BytesIO(large)) as opened:
        assert opened.size == picture.size_wh
        assert max(opened.size) <= min(1600, max(size_wh))
        assert opened.width / opened.height == pytest.approx(size_wh[0] / size_wh[1], rel=0.01)
    with Image.open(io.BytesIO(thumbnail)) as opened:
        assert max(opened.size) <= 640
