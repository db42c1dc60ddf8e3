"""Explores deliveries of one image in all orders of their storage calls, with crashes and redeliveries.

After each call, what a reader could see is checked; at the end, all objects are of the newest work.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from local.stack import Stack
from shared.cloud.object_store import ObjectStore
from shared.cloud.objects import ObjectStat
from shared.config import Config
from shared.errors import Deferred, Ignored, ObjectNotFound
from shared.events import ImageRef, Request
from shared.ml.model_cache import ModelCache
from shared.pipeline.runner import PipelineRunner
from shared.runtime.event_record import event_record
from testing import models
from testing.cloud import Cloud
from testing.interleaving import Choose, Crash, Option, Schedule, SteppedStore, explore_schedules
from testing.memory_store import MemoryStore
from testing.pictures import picture
from testing.present import present

MODEL, IMAGE, PREFIX = "models/t/detect.onnx", "uploads/t/a.png", "results/t/a.png"
PICTURES = ("annotated.jpg", "thumbnail-16.jpg")
STRICT_OPTIONS: dict[str, Any] = {"confidence_threshold": 0.85}
OLD, NEW = models.detect(), models.detect(labels=("weed", "pot"))
COLOURS = [picture((16, 16), colour=colour, kind="PNG") for colour in ("white", "grey", "black")]


@dataclass(frozen=True, order=True)
class Version:
    """Orders objects by the generation of the image, then by that of the model."""

    image: int
    model: int


class World:
    """One tenant's image and model in a store, a runner, and a reader of the results."""

    def __init__(
        self,
        store: Any,
        put: Callable[[str, bytes], int],
        bucket: str = "b",
        *,
        steps: tuple[str, ...] = ("results/",),
        thumbnails: bool = False,
    ) -> None:
        self.store, self._put, self.bucket = SteppedStore(store, *steps), put, bucket
        config = Config(
            gcs_bucket=bucket,
            upload_bucket=bucket,
            results_bucket=bucket,
            error_topic="e",
            thumbnail_sizes=(16,) if thumbnails else (),
        )
        self.pictures = PICTURES[: 1 + thumbnails]
        ModelCache.configure(self.store, bucket=bucket, threads=1, refresh_s=0.0)
        self._pipeline = PipelineRunner(self.store, config)
        self.model = put(MODEL, OLD)
        self.image = put(IMAGE, COLOURS[0])
        self.verdicts: list[str] = []
        self._seen: dict[str, Version] = {}

    # Actions

    def upload(self, number: int) -> int:
        present(self.store.schedule).step()
        self.replace_image(number)
        return self.image

    def replace_image(self, number: int) -> None:
        self.image = self._put(IMAGE, COLOURS[number])

    def replace_model(self) -> None:
        present(self.store.schedule).step()
        self.model = self._put(MODEL, NEW)

    def deliver_with_new_model(self) -> None:
        self.replace_model()
        self.deliver()

    def deliver(self, generation: int | None = None, **options: Any) -> None:
        """Deliver an event until it is acknowledged, again after each crash."""
        fields: dict[str, Any] = {"tenant_id": "t", "pipeline": "detect", "options": options, "source": "upload"}
        while True:
            request = Request(image=ImageRef(self.bucket, IMAGE, generation or self.image), **fields)
            try:
                with event_record():
                    done = self._pipeline.run(request)
                return self.verdicts.append("duplicate" if done.duplicate else "done")
            except Ignored:
                return self.verdicts.append("ignored")
            except (Deferred, Crash):
                present(self.store.schedule).step()

    # Checks

    def check_visible_objects(self) -> None:
        """Check that no object goes back in version, and no result has an older picture or none."""
        versions = {}
        for name in (*self.pictures, "result.json"):
            stats = self._stat(name)
            if stats:
                versions[name] = _version(stats)
                assert versions[name] >= self._seen.get(name, versions[name]), f"{name} went back"
        for name in self.pictures if "result.json" in versions else ():
            assert name in versions, f"a result without {name}"
            assert versions[name].image >= versions["result.json"].image, f"a result beside an older {name}"
        self._seen = versions

    def assert_newest_results(self) -> None:
        """Check that all objects are of one work, of the newest image and model, and that the document says so."""
        stats = {name: present(self._stat(name)) for name in (*self.pictures, "result.json")}
        assert len({each.metadata["tenant-vision-work"] for each in stats.values()}) == 1
        assert {_version(each) for each in stats.values()} == {Version(self.image, self.model)}
        document = json.loads(self.store.read(self.bucket, f"{PREFIX}/result.json").data)
        assert document["image"]["generation"] == self.image
        assert document["models"]["detect"]["generation"] == self.model

    def _stat(self, name: str) -> ObjectStat | None:
        try:
            stats: ObjectStat = self.store.stat(self.bucket, f"{PREFIX}/{name}")
        except ObjectNotFound:
            return None
        return stats


def _version(stats: ObjectStat) -> Version:
    model = stats.metadata["tenant-vision-model-detect"].rpartition("#")[2]
    return Version(int(stats.metadata["tenant-vision-image-generation"]), int(model))


Actions = Callable[[World], list[Callable[[], object]]]

# Each scenario: the actors, in a new world with the first image and the first model.
SCENARIOS: dict[str, Actions] = {
    "the same event twice": lambda w: [w.deliver, w.deliver],
    "an image and the next one": lambda w: [
        partial(w.deliver, w.image),
        lambda: w.deliver(w.upload(1)),
    ],
    "two pipelines at once": lambda w: [w.deliver, lambda: w.deliver(**STRICT_OPTIONS)],
    "a new model meanwhile": lambda w: [w.deliver, w.deliver_with_new_model],
}
SCENARIOS_OF_THREE: dict[str, Actions] = {
    "three images": lambda w: [
        partial(w.deliver, w.image),
        lambda: w.deliver(w.upload(1)),
        lambda: w.deliver(w.upload(2)),
    ],
    "two pipelines, one of them twice": lambda w: [w.deliver, w.deliver, lambda: w.deliver(**STRICT_OPTIONS)],
    "a new model and a new image": lambda w: [
        partial(w.deliver, w.image, **STRICT_OPTIONS),
        w.deliver_with_new_model,
        lambda: w.deliver(w.upload(1)),
    ],
}


@pytest.fixture(autouse=True)
def _no_models_left() -> Iterator[None]:
    yield
    ModelCache.clear_cache()


def in_memory(scenario: str, **how: Any) -> World:
    """Make a world in memory; reading the image is a step only where the image may change."""
    store = MemoryStore()
    return World(store, store.put, steps=("results/", "uploads/") if "image" in scenario else ("results/",), **how)


def run_scenario(world: World, acts: Actions, choose: Choose, **limits: Any) -> None:
    world.store.schedule = Schedule(choose, world.check_visible_objects, **limits)
    world.store.schedule.run(*acts(world))
    world.assert_newest_results()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_deliveries_in_any_order_leave_newest_results(scenario: str) -> None:
    def run_once(choose: Choose) -> None:
        world = in_memory(scenario)
        run_scenario(world, SCENARIOS[scenario], choose)
        if scenario == "the same event twice":
            assert sorted(world.verdicts) == ["done", "duplicate"]

    assert explore_schedules(run_once) > 50


def test_two_deliveries_over_an_old_result_write_one_result() -> None:
    def run_once(choose: Choose) -> None:
        world = in_memory("the same event twice")
        world.deliver()
        world.replace_image(1)
        run_scenario(world, SCENARIOS["the same event twice"], choose)
        assert sorted(world.verdicts[1:]) == ["done", "duplicate"]

    assert explore_schedules(run_once) > 50


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_delivery_killed_anywhere_is_repaired_by_the_next(scenario: str) -> None:
    orders = explore_schedules(
        lambda choose: run_scenario(
            in_memory(scenario), SCENARIOS[scenario], choose, max_crashes=1, max_switches=1
        )
    )
    assert orders > 25


@pytest.mark.parametrize("scenario", SCENARIOS_OF_THREE)
@hypothesis.settings(max_examples=25)
@hypothesis.given(data=st.data())
def test_three_repeatedly_killed_deliveries_leave_newest_results(scenario: str, data: st.DataObject) -> None:
    choose = st.sampled_from
    run_scenario(
        in_memory(scenario, thumbnails=True),
        SCENARIOS_OF_THREE[scenario],
        lambda options: data.draw(choose(options)) if len(options) > 1 else options[0],
        max_crashes=3,
        restart_crashed_last=True,
    )


def in_order(*actors: int) -> Choose:
    """Return a choice of these actors one after the other, then of the first."""
    schedule = iter(actors)

    def choose(options: Sequence[Option]) -> Option:
        wanted = next(schedule, None)
        return next((each for each in options if each[0] == wanted), options[0])

    return choose


def test_writer_that_replaced_a_picture_also_rewrites_the_result() -> None:
    """Actor 1 is late for the work of actor 0, and replaces a picture of actor 2 before its result."""
    scenario = "two pipelines, one of them twice"
    schedule = [1, 1, 0, 0, 0, 0, 0, 2, 2, 2, 1, 2, 1, 1, 2, 1, 1, 1, 2, 1, 2]
    world = in_memory(scenario, thumbnails=True)
    run_scenario(world, SCENARIOS_OF_THREE[scenario], in_order(*schedule))
    assert world.verdicts == ["done"] * 3


# The actor (0 or 1) of each step; after these, the first.
EMULATED_ORDERS = {
    "both have looked before either writes": [0, 1, 0, 1, 0, 1, 0, 1],
    "the second overtakes the first between its writes": [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1],
    "the first overtakes the second between its writes": [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
}


@pytest.mark.parametrize("order", EMULATED_ORDERS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_interleavings_hold_on_the_storage_emulator(
    scenario: str, order: str, emulators: Stack, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulators.storage_url)
    bucket, store = cloud.uploads.name, ObjectStore(project="p")

    def put(name: str, data: bytes) -> int:
        return store.write(bucket, name, data, content_type="application/octet-stream")

    world = World(store, put, bucket, steps=("results/", "uploads/"), thumbnails=True)
    run_scenario(world, SCENARIOS[scenario], in_order(*EMULATED_ORDERS[order]))
