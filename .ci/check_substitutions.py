"""Checks the substitutions of a build before anything is deployed: the first step of cloudbuild.yaml.

The settings of the functions are checked by the code that will read them, `Config`. The rest of the substitutions
(identities, topics, sizes, retries) are compared with each other and with what Google Cloud accepts.
"""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from shared.config import Config
from shared.errors import ConfigError

MAX_EVENTS_PER_CPU: Final = 4  # more would only wait for each other
MIN_ANSWER_S: Final = 30  # between the code's deadline and the platform's, to answer 503
MIN_BACKOFF_S, MAX_BACKOFF_S = 10, 600  # of redelivery, as the step `deliveries` sets it
_LOCATION: Final = re.compile(r"[a-z]+(-[a-z]+\d+)?|nam4|eur[457]|asia1")
_TOPIC: Final = re.compile(r"(?!goog)[A-Za-z][\w.~+%-]{2,249}", re.ASCII)
_SERVICE_ACCOUNT: Final = re.compile(r"[a-z0-9-]+@\S+\.gserviceaccount\.com")
_MEMORY: Final = re.compile(r"[1-9]\d*[MG]i")
_NUMBER: Final = re.compile(r"\d{1,6}")


def find_mistakes(environment: Mapping[str, str]) -> list[str]:
    """Return one sentence for each mistake in the substitutions, which the build passes as `environment`."""
    settings = dict(pair.partition("=")[::2] for pair in environment["SETTINGS"].split(",") if pair)
    mistakes = _mistakes_in_settings(settings, environment)
    try:
        config = Config.from_environment({**settings, **environment})
    except ConfigError as error:
        return [*mistakes, str(error)]
    return [*mistakes, *_mistakes_in_names(config, environment), *_mistakes_in_sizes(config, environment)]


def _mistakes_in_settings(settings: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    known = {field.metadata["name"] for field in fields(Config)}
    unknown = [
        f"_SETTINGS: unknown setting {name!r}: expected one of the README."
        for name in settings
        if name not in known
    ]
    twice = [
        f"_SETTINGS: {name} has a substitution of its own: set that."
        for name in settings
        if name in known & environment.keys()
    ]
    return unknown + twice


def _mistakes_in_names(config: Config, environment: Mapping[str, str]) -> list[str]:
    mistakes = []
    if config.upload_bucket == config.results_bucket:
        mistakes.append(
            "_RESULTS_BUCKET is the same bucket as _UPLOAD_BUCKET: the trigger watches the whole bucket, so "
            "every result would invoke the function."
        )
    locations = environment["LOCATIONS"].split(" ")
    mistakes += [
        f"Invalid location {name!r}." for name in dict.fromkeys(locations) if not _LOCATION.fullmatch(name)
    ]
    topics = environment["TOPICS"].split(" ")
    mistakes += [f"Invalid topic name {name!r}." for name in topics if not _TOPIC.fullmatch(name)]
    if len(set(topics)) != len(topics):
        mistakes.append(
            "Images, errors and dead letters need three topics: otherwise published errors invoke the functions."
        )
    identities = environment["IDENTITIES"].split(" ")
    mistakes += [
        f"Invalid service account address {name!r}." for name in identities if not _SERVICE_ACCOUNT.fullmatch(name)
    ]
    return mistakes


def _mistakes_in_sizes(config: Config, environment: Mapping[str, str]) -> list[str]:
    mistakes = []

    def number(name: str, low: int, high: int) -> int:
        text = environment[name]
        if _NUMBER.fullmatch(text) and low <= int(text) <= high:
            return int(text)
        mistakes.append(f"_{name}={text!r} is invalid: expected a whole number from {low} to {high}.")
        return low

    if not _MEMORY.fullmatch(environment["MEMORY"]):
        mistakes.append(f"_MEMORY={environment['MEMORY']!r} is invalid: expected a size such as 512Mi or 4Gi.")
    max_events = MAX_EVENTS_PER_CPU * number("CPU", 1, 8)
    concurrency = number("CONCURRENCY", 1, 1000)
    if concurrency > max_events:
        mistakes.append(
            f"_CONCURRENCY={concurrency} is too large: expected at most {MAX_EVENTS_PER_CPU} for each CPU, "
            "further events would only wait."
        )
    number("MIN_INSTANCES", 0, number("MAX_INSTANCES", 1, 1000))
    timeout_s = number("TIMEOUT", 60, 540)
    if config.event_deadline_s + MIN_ANSWER_S > timeout_s:
        mistakes.append(
            f"_EVENT_DEADLINE={config.event_deadline_s:g} is too late: expected at least {MIN_ANSWER_S} s before "
            f"_TIMEOUT={timeout_s}, so that the function can still answer 503."
        )
    attempts = number("MAX_DELIVERY_ATTEMPTS", 5, 100)
    delays_s = sum(min(MIN_BACKOFF_S * 2**n, MAX_BACKOFF_S) for n in range(attempts - 1))
    if delays_s < config.max_event_age_s:
        mistakes.append(
            f"_MAX_DELIVERY_ATTEMPTS={attempts} end after {delays_s} s: an event would become a dead letter "
            f"before MAX_EVENT_AGE={config.max_event_age_s:g} publishes it with its status."
        )
    return mistakes


if __name__ == "__main__":
    sys.exit("\n".join(f"Invalid build: {mistake}" for mistake in find_mistakes(os.environ)) or 0)
