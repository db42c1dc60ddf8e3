"""Makes the page of a demo: one HTML file that loads nothing. Pure but for the templates beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final
from urllib.parse import quote

from local.demo import cards
from local.demo.answer import Answer
from local.demo.comparison import total
from local.demo.inlined import Inlined

QUIET: Final = {"duplicate", "ignored", ""}
_HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Told:
    """All that the page tells."""

    answers: Sequence[Answer]
    pictures: Mapping[int, Inlined]  # by position in answers
    files: Mapping[int, str]  # the annotated picture beside the page, as a relative path
    missing: Sequence[str]  # what should have happened and did not
    took_s: float


def page(told: Told) -> str:
    shown = [_shown(told, position) for position in range(len(told.answers))]
    return Template((_HERE / "page.html").read_text(encoding="utf-8")).substitute(
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
        lead=_lead(told.answers),
        totals="".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>\n" for name, value in _totals(told)),
        warning=_warning(told.missing),
        tenants="".join(_tenant(tenant_id, shown) for tenant_id in _tenants(told.answers)),
        refused=_refused(told.answers),
        dialogs="".join(cards.dialog(each) for each in shown if each.picture and not each.answer.ask.aside),
    )


def _shown(told: Told, position: int) -> cards.Shown:
    return cards.Shown(
        answer=told.answers[position],
        anchor=f"picture-{position + 1}",
        picture=told.pictures.get(position),
        href=quote(told.files.get(position, "")),
    )


def _tenants(answers: Sequence[Answer]) -> list[str]:
    return sorted({answer.ask.tenant_id for answer in answers})


def _lead(answers: Sequence[Answer]) -> str:
    uploads = sum(answer.ask.by == "upload" for answer in answers)
    return (
        f"{uploads} files were uploaded and {len(answers) - uploads} messages were sent. Each was answered by the "
        "model of the tenant it belongs to, or refused with a reason. Storage, Pub/Sub and the functions all ran "
        "on one machine."
    )


def _totals(told: Told) -> list[tuple[str, str]]:
    results = [answer for answer in told.answers if answer.verdict == "done"]
    seen = total(answer.comparison for answer in results if answer.comparison)
    found, there, matched = (sum(each.values()) for each in (seen.found, seen.there, seen.matched))
    models = {model["uri"] for answer in results for model in answer.models.values()}
    return [
        ("results, each with its picture", f"{len(results)}"),
        ("models, each used for its own tenant", f"{len(models)}"),
        ("found / really there", f"{found:,} / {there:,}"),
        ("of those there found in place", f"{matched / there:.1%}" if there else "-"),
        ("refused, with a reason", f"{sum(answer.verdict == 'rejected' for answer in told.answers)}"),
        ("for the whole story", f"{told.took_s:.0f} s"),
    ]


def _warning(missing: Sequence[str]) -> str:
    if not missing:
        return ""
    lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in missing)
    return f'<div class="warning" role="alert"><p><b>Not all of it happened.</b></p><ul>{lines}</ul></div>\n'


def _tenant(tenant_id: str, shown: Sequence[cards.Shown]) -> str:
    ours = [each for each in shown if each.answer.ask.tenant_id == tenant_id]
    results = [each for each in ours if each.picture and not each.answer.ask.aside]
    refused = [each for each in ours if each.answer.ask.error == "model_not_found"]
    quiet = "".join(cards.line(each) for each in ours if each.answer.ask.aside or each.answer.verdict in QUIET)
    return (
        f'<section aria-labelledby="{escape(tenant_id)}">\n<h2 id="{escape(tenant_id)}">{escape(tenant_id)}</h2>\n'
        f'<p class="about">{_about([each.answer for each in results])}</p>\n'
        f'<ul class="cards">\n{"".join(cards.error(each) for each in refused)}'
        f"{''.join(cards.result(each) for each in results)}</ul>\n"
        + (f'<ul class="quiet">{quiet}</ul>\n' if quiet else "")
        + "</section>\n"
    )


def _about(results: Sequence[Answer]) -> str:
    if not results:
        return "<span>no result</span>"
    models: dict[str, list[Mapping[str, Any]]] = {}
    for answer in results:
        for model_type, model in answer.models.items():
            models.setdefault(model_type, []).append(model)
    return "".join(_about_model(model_type, each) for model_type, each in models.items())


def _about_model(model_type: str, models: Sequence[Mapping[str, Any]]) -> str:
    """What it knows, and which generations of it answered."""
    labels = ", ".join(f"<code>{escape(label)}</code>" for label in models[0]["labels"])
    generations = dict.fromkeys(str(model["generation"]) for model in models)
    several = "generations" if len(generations) > 1 else "generation"
    named = ", then ".join(f'<span class="mono">{escape(each)}</span>' for each in generations)
    return f"<span>{escape(model_type)}: {labels}, {several} {named}</span>"


def _refused(answers: Sequence[Answer]) -> str:
    refused = "".join(cards.error(cards.Shown(answer)) for answer in answers if answer.error)
    return (
        '<section aria-labelledby="refused">\n<h2 id="refused">Refused, with a reason</h2>\n'
        '<p class="about">as read back from the error topic: no other tenant&rsquo;s model stepped in, '
        "and nobody has to try again to learn why</p>\n"
        f'<ul class="cards">\n{refused}</ul>\n</section>\n'
    )
