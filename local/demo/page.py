"""Render the report of a demo as one HTML file that loads nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from local.demo.card_view import CardView
from local.demo.comparison import total
from local.demo.embedded_picture import EmbeddedPicture
from local.demo.step_outcome import StepOutcome

COMPACT_VERDICTS: Final = {"duplicate", "ignored", ""}  # shown as one line instead of a card
_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    outcomes: Sequence[StepOutcome]
    pictures: Mapping[int, EmbeddedPicture]  # by index in outcomes
    files: Mapping[int, str]  # paths of the annotated pictures relative to the page, by index in outcomes
    unmet: Sequence[str]  # expectations that were not met, one sentence each
    duration_s: float


@dataclass(frozen=True)
class ModelView:
    """A model type of one tenant: its labels, and the generations that were used."""

    model_type: str
    labels: Sequence[str]
    generations: Sequence[str]


@dataclass(frozen=True)
class TenantSection:
    """The part of the page about one tenant."""

    tenant_id: str
    models: Sequence[ModelView]
    errors: Sequence[CardView]
    results: Sequence[CardView]
    lines: Sequence[CardView]  # steps that are shown as one line each


def render_page(report: Report) -> str:
    """Return the page as HTML."""
    views = [_card_view(report, index) for index in range(len(report.outcomes))]
    tenants = sorted({view.step.tenant_id for view in views})
    uploads = sum(view.step.channel == "upload" for view in views)
    return _TEMPLATES.get_template("page.html").render(
        uploads=uploads,
        messages=len(views) - uploads,
        totals=_totals(report),
        unmet=report.unmet,
        sections=[_tenant_section(tenant_id, views) for tenant_id in tenants],
        errors=[view for view in views if view.error],
        dialogs=[view for view in views if _has_card(view)],
    )


def _card_view(report: Report, index: int) -> CardView:
    return CardView(
        outcome=report.outcomes[index],
        anchor=f"picture-{index + 1}",
        picture=report.pictures.get(index),
        href=quote(report.files.get(index, "")),
    )


def _has_card(view: CardView) -> bool:
    return view.picture is not None and not view.step.excluded_from_metrics


def _totals(report: Report) -> list[tuple[str, str]]:
    """Return the figures at the top of the page, each with its name."""
    results = [outcome for outcome in report.outcomes if outcome.verdict == "done"]
    compared = total(outcome.comparison for outcome in results if outcome.comparison)
    detected, actual, matched = (
        sum(each.values()) for each in (compared.detected, compared.actual, compared.matched)
    )
    models = {model["uri"] for outcome in results for model in outcome.models.values()}
    rejected = sum(outcome.verdict == "rejected" for outcome in report.outcomes)
    return [
        ("results, each with an annotated picture", f"{len(results)}"),
        ("models, each used for its own tenant", f"{len(models)}"),
        ("objects detected / actual", f"{detected:,} / {actual:,}"),
        ("of the actual objects matched", f"{matched / actual:.1%}" if actual else "-"),
        ("rejected, with an error message", f"{rejected}"),
        ("for the whole demo", f"{report.duration_s:.0f} s"),
    ]


def _tenant_section(tenant_id: str, views: Sequence[CardView]) -> TenantSection:
    own = [view for view in views if view.step.tenant_id == tenant_id]
    results = [view for view in own if _has_card(view)]
    return TenantSection(
        tenant_id=tenant_id,
        models=_models([view.outcome for view in results]),
        errors=[view for view in own if view.error and view.step.expected_error == "model_not_found"],
        results=results,
        lines=[v for v in own if v.step.excluded_from_metrics or v.outcome.verdict in COMPACT_VERDICTS],
    )


def _models(outcomes: Sequence[StepOutcome]) -> list[ModelView]:
    """Return the models that made the results, by type in the order of their first use."""
    views: dict[str, ModelView] = {}
    for outcome in outcomes:
        for model_type, model in outcome.models.items():
            view = views.get(model_type) or ModelView(model_type, model["labels"], [])
            generations = dict.fromkeys([*view.generations, str(model["generation"])])
            views[model_type] = ModelView(model_type, view.labels, list(generations))
    return list(views.values())
