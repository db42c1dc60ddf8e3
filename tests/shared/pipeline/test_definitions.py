"""Tests pipelines: schema and code agree, errors name their position, tenants' files are cached and refreshed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import Config
from shared.errors import InvalidPipeline, StorageUnavailable
from shared.pipeline.definitions import BUILT_IN, MAX_BYTES, MAX_DEFINITION_BYTES, PipelineRegistry, Plan, validate
from shared.processors.classifier_processor import ClassifierOptions
from shared.processors.options import non_default_options
from shared.steps.step import STEPS
from testing.memory_store import MemoryStore

CONFIG = Config(gcs_bucket="b", error_topic="e", model_refresh_s=0.0)
PIPELINES_FILE = "models/tenant-001/pipelines.json"


@pytest.fixture(scope="module")
def schema(root: Path) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((root / "shared/schemas/pipelines.schema.json").read_text())
    return schema


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def pipelines(store: MemoryStore) -> PipelineRegistry:
    return PipelineRegistry(store, CONFIG)


def put(store: MemoryStore, document: Any) -> int:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return store.put(PIPELINES_FILE, data)


def steps(name: str, pipelines: PipelineRegistry, **options: Any) -> tuple[Any, ...]:
    return pipelines.plan("tenant-001", name, options).steps


def one_step(step: str, **options: Any) -> dict[str, Any]:
    """Return a file of one pipeline, `mine`, of one step."""
    return {"mine": {"steps": [{"step": step, "options": options}]}}


# The schema and the code


class RecordedOptions(Mapping[str, Any]):
    """A step's options, which records which are requested."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.requested: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.requested.add(name)
        return self.options[name]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("options are requested by name")

    def __len__(self) -> int:
        return len(self.options)


EXAMPLE_OPTIONS = {
    "confidence_threshold": 0.6,
    "labels": ["plant"],
    "iou_threshold": 0.1,
    "class_agnostic": True,
    "max_detections": 7,
    "resolution": "image",
    "run_lengths": True,
    "model": "segment",
    "slice_size": [320, 640],
    "overlap": 0.35,
    "full_image": False,
    "merge": "NMM",
    "merge_metric": "IOU",
    "merge_threshold": 0.75,
    "detector": "detect",
    "top_k": 2,
    "min_area": 12.5,
    "largest": 3,
    "threshold": 0.3,
    "of": "segments",
    "bands": [{"name": "low", "below": 0.5}, {"name": "high"}],
}


def test_schema_lists_all_steps(schema: dict[str, Any]) -> None:
    assert schema["$defs"]["step"]["properties"]["step"]["enum"] == list(STEPS)
    chosen = [each["if"]["properties"]["step"]["const"] for each in schema["$defs"]["step"]["allOf"]]
    assert chosen == list(STEPS)
    for each in schema["$defs"]["step"]["allOf"]:
        name = each["if"]["properties"]["step"]["const"]
        assert each["then"] == {"properties": {"options": {"$ref": f"#/$defs/{name}"}}}
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", STEPS)
def test_schema_lists_the_options_a_step_reads(name: str, schema: dict[str, Any]) -> None:
    known = schema["$defs"][name].get("properties", {})
    assert set(known) <= set(EXAMPLE_OPTIONS), "one to be tested"
    recorded = RecordedOptions({option: EXAMPLE_OPTIONS[option] for option in known})
    STEPS[name].from_json(recorded, CONFIG)
    beyond = {"resolution"} if name == "sahi_detect" else set()  # sliced segments are always at the image's own
    assert recorded.requested - beyond == set(known)
    assert schema["$defs"][name]["additionalProperties"] is False


STEP_OPTIONS = [(name, option) for name in STEPS for option in EXAMPLE_OPTIONS]


@pytest.mark.parametrize(("name", "option"), STEP_OPTIONS)
def test_each_option_changes_step_and_digest(name: str, option: str, schema: dict[str, Any]) -> None:
    if option not in schema["$defs"][name].get("properties", {}):
        with pytest.raises(InvalidPipeline, match=option):
            validate({option: EXAMPLE_OPTIONS[option]}, "options", name)
        return
    validate({option: EXAMPLE_OPTIONS[option]}, "options", name)
    plain, other = (STEPS[name].from_json(each, CONFIG) for each in ({}, {option: EXAMPLE_OPTIONS[option]}))
    assert plain != other
    assert Plan((plain,)).digest != Plan((other,)).digest
    assert Plan((plain, other)).digest != Plan((other, plain)).digest


def test_built_in_pipelines_match_the_schema(pipelines: PipelineRegistry) -> None:
    validate(BUILT_IN, "built in", "")
    assert set(BUILT_IN) == {"detect", "segment", "sahi_detect", "classify", "count"}
    for name in BUILT_IN:
        assert steps(name, pipelines)
    assert [type(each).__name__ for each in steps("count", pipelines)] == [
        "SegmentationStep",
        "WithinSegmentsStep",
        "AggregateStep",
    ]


# The digest

PRINT_DIGEST = """
from shared.config import Config
from shared.pipeline.definitions import PipelineRegistry
from testing.memory_store import MemoryStore
import sys
store = MemoryStore()
store.put("models/tenant-001/pipelines.json", sys.stdin.buffer.read())
config = Config(gcs_bucket="b", error_topic="e")
print(PipelineRegistry(store, config).plan("tenant-001", "mine", {}).digest)
"""


def test_digest_is_equal_in_all_processes(root: Path, store: MemoryStore, pipelines: PipelineRegistry) -> None:
    thresholds = dict.fromkeys(("tray", "plant", "pot", "weed", "bed"), 0.1)
    document = {
        "mine": {
            "steps": [
                {"step": "segment", "options": {"confidence_threshold": thresholds, "labels": ["path", "bed"]}},
                {"step": "within_segments", "options": {"merge": "NMS", "confidence_threshold": thresholds}},
                {"step": "size_statistics"},
            ]
        }
    }
    put(store, document)
    digests = {Plan(steps("mine", pipelines)).digest}
    for seed in ("0", "1"):
        ran = subprocess.run(
            [sys.executable, "-c", PRINT_DIGEST],
            input=json.dumps(document).encode(),
            capture_output=True,
            check=True,
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
        )
        digests.add(ran.stdout.decode().strip())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("step", "options", "equivalent"),
    [
        ("detect", {"labels": ["a", "b"]}, {"labels": ["b", "a"]}),
        ("detect", {"confidence_threshold": {"a": 0.1, "b": 0.2}}, {"confidence_threshold": {"b": 0.2, "a": 0.1}}),
        ("detect", {"max_detections": 7, "iou_threshold": 1}, {"iou_threshold": 1.0, "max_detections": 7.0}),
        ("detect", {}, {"confidence_threshold": 0.25, "iou_threshold": 0.7, "max_detections": 300}),
        ("sahi_detect", {"slice_size": 640}, {"slice_size": [640, 640.0]}),
        ("sahi_detect", {}, {"overlap": 0.2, "merge": "GREEDYNMM", "merge_metric": "IOS", "model": "detect"}),
        ("segment_filter", {"min_area": 5, "largest": 2}, {"min_area": 5.0, "largest": 2.0}),
        ("classify", {"confidence_threshold": 1}, {"top_k": 5.0, "confidence_threshold": 1.0}),
        (
            "size_statistics",
            {"bands": [{"name": "a", "below": 1}, {"name": "b"}]},
            {"bands": [{"below": 1.0, "name": "a"}, {"name": "b"}]},
        ),
    ],
    ids=str,
)
def test_equivalent_options_have_equal_digests(
    step: str, options: dict[str, Any], equivalent: dict[str, Any]
) -> None:
    one_step, other = (STEPS[step].from_json(each, CONFIG) for each in (options, equivalent))
    assert Plan((one_step,)).digest == Plan((other,)).digest


FIXED_DIGESTS = [
    ("detect", {}, "54e6bc9244f6079d69a69621b63884c3840403400ab2c08222977dc57395ee73"),
    (
        "detect",
        {
            "labels": ["b", "a"],
            "confidence_threshold": {"a": 0.4},
            "iou_threshold": 0.5,
            "class_agnostic": True,
            "max_detections": 7,
        },
        "e4e546ba53fe2a4b4188847a2604bce39b302382526b685ef37373442751efd0",
    ),
    (
        "segment",
        {"resolution": "image", "run_lengths": True},
        "9a1bf618d1b5661456b0bca713fa388d0112ae40750c65837bb098103c810dd3",
    ),
    (
        "sahi_detect",
        {
            "model": "segment",
            "slice_size": [512, 640],
            "overlap": 0.3,
            "full_image": False,
            "merge": "NMM",
            "merge_metric": "IOU",
            "merge_threshold": 0.4,
        },
        "6beb495a712c74eb63915ad8a083ff58ddeaf5e61d24bfed8577b3fbae126977",
    ),
    (
        "classify",
        {"top_k": 3, "confidence_threshold": 0.5},
        "3e20ea4e576666998113d642c23f46fa8d18c0f0f8834f6ba7aa5f00899a9408",
    ),
    (
        "segment_filter",
        {"labels": ["bed"], "min_area": 20000, "largest": 8},
        "e45397f803d1b053dc2e5c186c539199f0e038d56e24ab18c43c7eef1f74b097",
    ),
    ("join_segments", {"threshold": 0.2}, "2734f0645468fa885d64758ff70f3afe2b8150f8a5e23d445fb95286717c3d11"),
    (
        "within_segments",
        {"detector": "detect", "slice_size": 512},
        "7fd15a39c3c57b473d52d1d3031e01870dfb04ba9e51399006ede881eb8fd8e9",
    ),
    ("aggregate", {}, "3c62ba2e617a5e2b1f835002b544a4dca689140982ace1a15cae56f193218f46"),
    (
        "size_statistics",
        {"of": "segments", "bands": [{"name": "s", "below": 0}, {"name": "l"}]},
        "73d5b2efd33f427f5f0a523ff52695d293d6a27d807fa35d0f47eefadf077b11",
    ),
]


@pytest.mark.parametrize(("step", "options", "digest"), FIXED_DIGESTS, ids=[each[0] for each in FIXED_DIGESTS])
def test_digest_of_a_step_is_fixed(step: str, options: dict[str, Any], digest: str) -> None:
    assert Plan((STEPS[step].from_json(options, CONFIG),)).digest == digest


def test_digest_of_several_steps_with_fast_resampling_is_fixed(pipelines: PipelineRegistry) -> None:
    plan = pipelines.plan("tenant-001", "count", {"resampling": "fast"})

    assert plan.digest == "1c7439f2cc6d9ae2168db461f47a8279abe0ddbf226dfffe56c107f3f93c57e6"


def test_non_default_options_ignore_class_field_order_and_new_defaults() -> None:
    @dataclass(frozen=True)
    class Before:
        overlap: float = 0.2
        labels: tuple[str, ...] | None = None
        options: ClassifierOptions = field(default_factory=ClassifierOptions)

    @dataclass(frozen=True)
    class After:
        options: ClassifierOptions = field(default_factory=ClassifierOptions)
        only: tuple[str, ...] | None = field(default=None, metadata={"option": "labels"})
        added: int = 7
        overlap: float = 0.2

    assert non_default_options(Before()) == non_default_options(After()) == {}
    options = ClassifierOptions(top_k=3)
    before = non_default_options(Before(labels=("a",), options=options))
    assert before == non_default_options(After(only=("a",), options=options)) == {"labels": ("a",), "top_k": 3}


# A tenant's own pipelines


def test_tenant_without_file_has_only_built_in_pipelines(pipelines: PipelineRegistry, store: MemoryStore) -> None:
    assert steps("detect", pipelines)
    with pytest.raises(
        InvalidPipeline, match="unknown pipeline 'mine'; known pipelines: classify, count, detect, sahi_detect"
    ):
        steps("mine", pipelines)


def test_own_pipelines_extend_and_replace_built_in_ones(pipelines: PipelineRegistry, store: MemoryStore) -> None:
    put(
        store,
        one_step("detect", max_detections=3)
        | {"segment": {"steps": [{"step": "segment", "options": {"run_lengths": True}}]}},
    )
    [mine] = steps("mine", pipelines)
    assert mine.options.max_detections == 3
    [segment] = steps("segment", pipelines)
    assert segment.run_lengths
    assert len(steps("count", pipelines)) == 3
    with pytest.raises(
        InvalidPipeline, match="unknown pipeline 'yours'; known pipelines: classify, count, detect, mine"
    ):
        steps("yours", pipelines)


def test_own_pipelines_are_unknown_to_other_tenants(pipelines: PipelineRegistry, store: MemoryStore) -> None:
    put(store, one_step("detect"))
    with pytest.raises(InvalidPipeline, match="unknown pipeline 'mine'"):
        pipelines.plan("tenant-002", "mine", {})


DEEP = b"[" * 10_000 + b"]" * 10_000
INVALID_FILES = {
    "nothing": (b"", "must be valid JSON"),
    "a text": (b"detect", "must be valid JSON"),
    "half of it": (b'{"mine": {', "must be valid JSON"),
    "not UTF-8": (b'{"\xff": 1}', "must be valid JSON"),
    "a number that is none": (b'{"mine": NaN}', "must be valid JSON"),
    "half a pair of surrogates": (
        json.dumps(one_step("size_statistics", bands=[{"name": "\ud800"}])).encode(),
        "must be valid JSON",
    ),
    "deep": (DEEP, "pipelines.json"),
    "deep inside": (
        b'{"mine": {"steps": [{"step": "detect", "options": {"labels": ' + DEEP + b"}}]}}",
        "pipelines.json",
    ),
    "too large": (b'{"mine": "' + b"x" * MAX_BYTES + b'"}', "more than 1048576 bytes"),
    "a list": ([], "pipelines.json: [] is not of type 'object'"),
    "a name that is none": ({"My Own": {"steps": [{"step": "detect"}]}}, "'My Own'"),
    "a pipeline that is none": ({"mine": 3}, ": mine: 3 is not of type 'object'"),
    "no steps": ({"mine": {}}, ": mine: 'steps' is a required property"),
    "an empty one": ({"mine": {"steps": []}}, ": mine.steps: "),
    "too many steps": ({"mine": {"steps": [{"step": "detect"}] * 17}}, ": mine.steps: "),
    "too many pipelines": ({f"p{n}": {"steps": [{"step": "detect"}]} for n in range(65)}, "too many properties"),
    "a step that is none": ({"mine": {"steps": [{"step": "detect"}, 4]}}, ": mine.steps[1]: 4 is not of type"),
    "a step without a name": ({"mine": {"steps": [{}]}}, ": mine.steps[0]: 'step' is a required property"),
    "an unknown step": (
        one_step("astrology"),
        ": mine.steps[0].step: 'astrology' is not one of ['detect', 'segment'",
    ),
    "a step of another type": ({"mine": {"steps": [{"step": ["detect"]}]}}, ": mine.steps[0].step: "),
    "beside its options": ({"mine": {"steps": [{"step": "detect", "option": {}}]}}, "'option' was unexpected"),
    "beside its steps": ({"mine": {"steps": [{"step": "detect"}], "models": 1}}, ": mine: "),
    "an unknown option": (one_step("detect", colour="red"), ": mine.steps[0].options: "),
    "another step's option": (one_step("classify", labels=[]), ": mine.steps[0].options: "),
    "an option of another type": (
        one_step("segment_filter", min_area="5"),
        ": mine.steps[0].options.min_area: '5' is not",
    ),
    "too little": (one_step("segment_filter", min_area=-1), ": mine.steps[0].options.min_area: -1 is less than"),
    "no number but a bool": (
        one_step("detect", max_detections=True),
        ": mine.steps[0].options.max_detections: True",
    ),
    "a fraction": (one_step("detect", max_detections=1.5), ": mine.steps[0].options.max_detections: 1.5"),
    "too much": (
        one_step("detect", confidence_threshold={"plant": 2}),
        "options.confidence_threshold.plant: 2 is greater",
    ),
    "a threshold for nobody": (
        one_step("detect", confidence_threshold={}),
        ": mine.steps[0].options.confidence_threshold",
    ),
    "beyond every number": (
        one_step("segment_filter", min_area=10**400),
        "is greater than the maximum of 1000000000",
    ),
    "infinite": (
        b'{"mine": {"steps": [{"step": "segment_filter", "options": {"min_area": 1e999}}]}}',
        "inf is greater",
    ),
    "a limit beyond every number": (
        one_step("size_statistics", bands=[{"name": "a", "below": 10**400}, {"name": "b"}]),
        ": mine.steps[0].options.bands[0].below: ",
    ),
    "a label twice": (one_step("detect", labels=["a", "a"]), ": mine.steps[0].options.labels: "),
    "very many things that are no labels": (
        one_step("detect", labels=[[n, str(n)] for n in range(900)]),
        ": mine.steps[0].options.labels[0]: ",
    ),
    "a size of one side": (one_step("sahi_detect", slice_size=[640]), ": mine.steps[0].options.slice_size: "),
    "a size too small": (one_step("sahi_detect", slice_size=16), ": mine.steps[0].options.slice_size: "),
    "an overlap of all": (one_step("within_segments", overlap=1), ": mine.steps[0].options.overlap: "),
    "bands that do not rise": (
        one_step("size_statistics", bands=[{"name": "a", "below": 2}, {"name": "b", "below": 1}, {"name": "c"}]),
        ": mine.steps[0]: bands: `below` must increase",
    ),
    "the second pipeline": (
        one_step("detect")
        | {"a-b": {"steps": [{"step": "segment"}, {"step": "aggregate", "options": {"by": "label"}}]}},
        ": a-b.steps[1].options: ",
    ),
}


@pytest.mark.parametrize("case", INVALID_FILES)
def test_invalid_file_is_reported_with_its_json_path(
    case: str, pipelines: PipelineRegistry, store: MemoryStore
) -> None:
    document, message = INVALID_FILES[case]
    put(store, document)
    started = time.monotonic()
    for _ in range(2):
        with pytest.raises(InvalidPipeline) as caught:
            steps("mine", pipelines)
        assert message in str(caught.value)
        assert str(caught.value).startswith("pipelines.json:")
        assert len(str(caught.value)) < 600
        str(caught.value).encode()
    assert time.monotonic() - started < 5, "a hostile document must cost little"


def test_very_many_errors_in_a_file_cost_little_time(pipelines: PipelineRegistry, store: MemoryStore) -> None:
    document: dict[str, Any] = {f"p{number}": {"steps": [{}]} for number in range(30_000)}
    put(store, document)
    started = time.monotonic()
    with pytest.raises(InvalidPipeline):
        steps("p1", pipelines)
    assert time.monotonic() - started < 2


def test_many_errors_of_an_option_are_not_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    initialise = jsonschema.ValidationError.__init__

    def count(error: jsonschema.ValidationError, *args: Any, **kwargs: Any) -> None:
        made.append(args)
        initialise(error, *args, **kwargs)

    monkeypatch.setattr(jsonschema.ValidationError, "__init__", count)
    values: list[Any] = [[1] * 1000, {str(number): -1 for number in range(1000)}, [{}] * 1000, [[], ""] * 500]

    for option in EXAMPLE_OPTIONS:
        for value in values:
            for name in ("detect", "segment", "sahi_detect", "within_segments", "classify", "size_statistics"):
                with pytest.raises(InvalidPipeline):
                    validate({option: value}, "options", name)
                assert len(made) <= 2, f"{option} of {name}: the first error, and that of a condition before it"
                made.clear()


def test_label_of_a_threshold_has_at_most_256_characters() -> None:
    validate({"confidence_threshold": {"x" * 256: 0.5}}, "options", "detect")
    with pytest.raises(InvalidPipeline, match="is too long"):
        validate({"confidence_threshold": {"x" * 257: 0.5}}, "options", "detect")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2000)
    | st.floats(-2, 2)
    | st.sampled_from([*STEPS, *EXAMPLE_OPTIONS, "steps", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["step", "options", "steps", *EXAMPLE_OPTIONS]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["step", "options", *EXAMPLE_OPTIONS]), JSON), JSON)
def test_any_json_is_a_pipeline_or_invalid_pipeline(step: str, options: dict[str, Any]) -> None:
    store = MemoryStore()
    put(store, {"mine": {"steps": [{"step": "within_segments", "options": options}, step]}})
    try:
        planned = steps("mine", PipelineRegistry(store, CONFIG))
    except InvalidPipeline:
        return
    assert len(Plan(planned).digest) == 64


# Options of a request


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "detect",
            {"colour": "red"},
            "unknown option 'colour'; known options: class_agnostic, confidence_threshold",
        ),
        ("detect", {"resolution": "image"}, "unknown option 'resolution'"),
        ("detect", {"confidence_threshold": 2}, "options: confidence_threshold: "),
        ("detect", {"confidence_threshold": "high"}, "options: confidence_threshold: "),
        ("detect", {"labels": "plant"}, "options: labels: "),
        ("detect", {"labels": [1]}, "options: labels[0]: "),
        ("detect", {"x" * 5000: 1}, "unknown option 'xxx"),
        ("detect", {"\n": 1}, r"unknown option '\n'"),
        ("count", {"top_k": 1}, "unknown option 'top_k'"),
        ("classify", {"confidence_threshold": {"healthy": 0.5}}, "options: confidence_threshold: "),
    ],
)
def test_invalid_request_options_are_reported_by_name(
    name: str, options: dict[str, Any], message: str, pipelines: PipelineRegistry
) -> None:
    with pytest.raises(InvalidPipeline) as caught:
        steps(name, pipelines, **options)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 600


def test_definition_of_exactly_the_limit_is_planned(pipelines: PipelineRegistry) -> None:
    labels = [f"{number:0250}" for number in range(193)]
    definition = {"steps": [{"step": "detect", "options": {"labels": labels}}], "resampling": "exact"}
    rest = MAX_DEFINITION_BYTES - len(json.dumps(definition, separators=(",", ":"))) - len(',""')
    assert 0 < rest <= 250

    planned = pipelines.plan("tenant-001", "detect", {"labels": [*labels, "x" * rest]})
    assert len(json.dumps(planned.definition, separators=(",", ":"))) == MAX_DEFINITION_BYTES
    with pytest.raises(InvalidPipeline, match=f"the limit is {MAX_DEFINITION_BYTES}"):
        pipelines.plan("tenant-001", "detect", {"labels": [*labels, "x" * (rest + 1)]})


def test_step_without_options_leaves_only_resampling(pipelines: PipelineRegistry, store: MemoryStore) -> None:
    put(store, {"mine": {"steps": [{"step": "aggregate"}]}})
    with pytest.raises(InvalidPipeline, match=r"known options: resampling$"):
        steps("mine", pipelines, labels=[])


def test_request_options_override_those_of_all_steps_that_have_them(
    pipelines: PipelineRegistry, store: MemoryStore
) -> None:
    put(
        store,
        {
            "mine": {
                "steps": [
                    {"step": "segment", "options": {"confidence_threshold": 0.5, "resolution": "image"}},
                    {"step": "segment_filter", "options": {"min_area": 7}},
                    {"step": "within_segments", "options": {"max_detections": 9}},
                ]
            }
        },
    )
    segment, kept, within = steps("mine", pipelines, confidence_threshold=0.75, max_detections=11, min_area=8)
    assert (segment.options.confidence_threshold, segment.options.max_detections) == (0.75, 11)
    assert segment.options.resolution == "image"
    assert kept.min_area == 8
    assert (within.options.confidence_threshold, within.options.max_detections) == (0.75, 11)
    segment, kept, within = steps("mine", pipelines)
    assert (segment.options.confidence_threshold, kept.min_area, within.options.max_detections) == (0.5, 7, 9)


def test_settings_are_the_defaults_of_options(store: MemoryStore) -> None:
    step: Any
    config = Config(
        gcs_bucket="b",
        error_topic="e",
        confidence_threshold=0.4,
        iou_threshold=0.5,
        max_detections=50,
        slice_size=96,
    )
    [step] = PipelineRegistry(store, config).plan("tenant-001", "sahi_detect", {"iou_threshold": 0.6}).steps
    options = step.options
    assert (options.confidence_threshold, options.iou_threshold, options.max_detections) == (0.4, 0.6, 50)
    assert step.slices.slice_hw == (96, 96)
    [step] = (
        PipelineRegistry(store, config)
        .plan("tenant-001", "detect", {"confidence_threshold": {"plant": 0.9}})
        .steps
    )
    assert (step.options.confidence_threshold, step.options.confidence_thresholds) == (0.4, {"plant": 0.9})


# Cached and refreshed


def requested(store: MemoryStore) -> dict[str, int]:
    return {verb: count for (verb, name), count in store.calls.items() if name == PIPELINES_FILE}


def long_refresh_registry(store: MemoryStore, refresh_s: float = 3600.0) -> PipelineRegistry:
    return PipelineRegistry(store, Config(gcs_bucket="b", error_topic="e", model_refresh_s=refresh_s))


@pytest.mark.parametrize("document", [None, one_step("detect"), b"no JSON", {"mine": 3}], ids=str)
def test_file_is_read_once_even_if_missing_or_invalid(document: Any, store: MemoryStore) -> None:
    if document is not None:
        put(store, document)
    pipelines = long_refresh_registry(store)
    for _ in range(5):
        try:
            steps("mine", pipelines)
        except InvalidPipeline:
            continue
    assert requested(store) == {"read": 1}


def test_concurrent_plans_share_one_read(store: MemoryStore) -> None:
    put(store, one_step("detect"))
    gate = store.gate(PIPELINES_FILE)
    pipelines = long_refresh_registry(store)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(steps, "mine", pipelines) for _ in range(8)]
        assert store.entered.acquire(timeout=10)
        gate.set()
        assert all(future.result(10) for future in futures)
    assert requested(store) == {"read": 1}


@pytest.mark.parametrize("before", [None, one_step("segment"), b"no JSON"], ids=str)
def test_new_file_is_loaded_when_refresh_is_due(
    before: Any, store: MemoryStore, pipelines: PipelineRegistry
) -> None:
    if before is not None:
        put(store, before)
    first = None
    try:
        first = steps("mine", pipelines)
    except InvalidPipeline:
        assert before in (None, b"no JSON")
    put(store, one_step("detect"))
    [step] = steps("mine", pipelines)
    assert step.model_types == ("detect",)
    assert (step,) != first


def test_new_file_is_not_loaded_before_refresh_is_due(store: MemoryStore) -> None:
    pipelines = long_refresh_registry(store)
    steps("detect", pipelines)
    put(store, one_step("detect"))
    with pytest.raises(InvalidPipeline):
        steps("mine", pipelines)


def test_deleted_file_is_dropped_and_a_restored_one_loaded(
    store: MemoryStore, pipelines: PipelineRegistry
) -> None:
    put(store, one_step("detect"))
    assert steps("mine", pipelines)
    store.remove(PIPELINES_FILE)
    with pytest.raises(InvalidPipeline, match="unknown pipeline 'mine'"):
        steps("mine", pipelines)
    assert steps("detect", pipelines)
    put(store, one_step("detect"))
    assert steps("mine", pipelines)


def test_refresh_of_unchanged_file_costs_only_a_stat(store: MemoryStore, pipelines: PipelineRegistry) -> None:
    put(store, one_step("detect"))
    for _ in range(3):
        steps("mine", pipelines)
    assert requested(store) == {"read": 1, "stat": 2}


def test_invalid_new_file_keeps_old_pipelines_and_is_logged(
    store: MemoryStore, pipelines: PipelineRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """As with a model, a broken new generation does not interrupt the service."""
    put(store, one_step("detect", max_detections=3))
    assert steps("mine", pipelines)
    put(store, one_step("detect", max_detections=0))
    [step] = steps("mine", pipelines)
    assert step.options.max_detections == 3
    assert "mine.steps[0].options.max_detections" in caplog.text
    assert "tenant-001" in caplog.text


def test_invalid_first_file_is_reported_after_a_missing_one(
    store: MemoryStore, pipelines: PipelineRegistry
) -> None:
    steps("detect", pipelines)
    put(store, one_step("detect", max_detections=0))
    with pytest.raises(InvalidPipeline, match=r"mine.steps\[0\].options.max_detections"):
        steps("mine", pipelines)
    put(store, one_step("detect"))
    assert steps("mine", pipelines)


def test_storage_failure_is_not_taken_for_a_missing_file(store: MemoryStore, pipelines: PipelineRegistry) -> None:
    put(store, one_step("detect"))
    store.failures["read", PIPELINES_FILE] = StorageUnavailable("x")
    for name in ("mine", "detect"):
        with pytest.raises(StorageUnavailable):
            steps(name, pipelines)
    store.failures.clear()
    assert steps("mine", pipelines)


@pytest.mark.parametrize("verb", ["stat", "read"])
def test_failed_refresh_keeps_old_pipelines(verb: str, store: MemoryStore, pipelines: PipelineRegistry) -> None:
    put(store, one_step("detect"))
    steps("mine", pipelines)
    put(store, one_step("segment"))
    store.failures[verb, PIPELINES_FILE] = StorageUnavailable("x")
    [step] = steps("mine", pipelines)
    assert step.model_types == ("detect",)
