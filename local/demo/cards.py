"""One answer as HTML: a card with its picture, an error, a line, the large picture. Everything is escaped here."""

from dataclasses import dataclass
from html import escape

from local.demo.answer import Answer
from local.demo.inlined import Inlined


@dataclass(frozen=True)
class Shown:
    """An answer and its place on the page."""

    answer: Answer
    anchor: str = ""
    picture: Inlined | None = None
    href: str = ""  # the picture's file beside the page


def result(shown: Shown) -> str:
    answer, picture = shown.answer, shown.picture
    if picture is None:
        return ""
    wide, source = (" wide", picture.large) if answer.beds else ("", picture.thumb)
    return (
        f'<li class="card{wide}">\n'
        f'<a class="shot" href="{shown.href}" data-large="{shown.anchor}">'
        f'<img src="{source}" alt="{escape(_alt(answer))}"></a>\n'
        f'<div class="text">\n<div><h3>{escape(answer.ask.path)}</h3>\n<p class="meta">{_meta(answer)}</p></div>\n'
        f"{_note(answer)}{_counts(answer)}{_beds(answer)}"
        f'<p class="foot"><span>{_matched(answer)}</span><span>{_timings(answer)}</span></p>\n</div>\n</li>\n'
    )


def error(shown: Shown) -> str:
    answer = shown.answer
    if answer.error is None:
        return ""
    return (
        '<li class="card error">\n<div class="text">\n'
        f'<p class="status">{escape(answer.error.status)}</p>\n'
        f'<p class="says">{escape(answer.error.sentence)}</p>\n'
        f'<p class="note"><code>{escape(answer.error.error)}</code></p>\n{_note(answer)}'
        f'<p class="foot"><span>{escape(answer.ask.tenant_id)} · '
        f'<span class="mono">{escape(answer.ask.name)}</span></span>'
        f"<span>{_way(answer)}</span></p>\n"
        "</div>\n</li>\n"
    )


def line(shown: Shown) -> str:
    answer = shown.answer
    return (
        f'<li><span class="tag">{escape(answer.verdict or "no answer")}</span> {_way(answer)} · '
        f"{escape(answer.ask.path)} · {escape(answer.ask.note)} · {_timings(answer)}</li>\n"
    )


def dialog(shown: Shown) -> str:
    answer, picture = shown.answer, shown.picture
    if picture is None:
        return ""
    width, height = picture.size_wh
    title = escape(f"{answer.ask.path} · {answer.ask.tenant_id}")
    return (
        f'<dialog id="{shown.anchor}" aria-label="{title}">\n<div class="strip"><p>{title}</p>\n'
        '<button type="button" data-back aria-label="previous picture">&lsaquo;</button>\n'
        '<button type="button" data-next aria-label="next picture">&rsaquo;</button>\n'
        '<button type="button" data-close autofocus>Close</button></div>\n'
        f'<div class="stage"><img src="{picture.large}" width="{width}" height="{height}" '
        f'alt="{escape(_alt(answer))}"></div>\n</dialog>\n'
    )


def _alt(answer: Answer) -> str:
    document = answer.document or {}
    if "classification" in document:
        classes = ", ".join(f"{each['label']} {each['confidence']:.0%}" for each in document["classification"])
        return f"{answer.ask.path} of {answer.ask.tenant_id}: {classes}"
    found = answer.comparison.found if answer.comparison else {}
    what = ", ".join(f"{count} {label}" for label, count in found.items()) or "nothing"
    drawn = "outlines" if "detections" not in document and "segments" in document else "boxes"
    return f"{answer.ask.path} of {answer.ask.tenant_id} with {drawn} around what was found: {what}"


def _meta(answer: Answer) -> str:
    parts = [_way(answer)]
    if answer.size_wh:
        parts.insert(0, f"{answer.size_wh[0]}&nbsp;&times;&nbsp;{answer.size_wh[1]}&nbsp;px")
    asked = {"pipeline": answer.ask.pipeline} if answer.ask.pipeline else {}
    asked |= {name: f"{value:g}" for name, value in answer.ask.options.items()}
    if answer.ask.request_id:
        asked["request_id"] = answer.ask.request_id
    fields = "".join(f"<br><code>{escape(name)} {escape(value)}</code>" for name, value in asked.items())
    return " · ".join(parts) + fields


def _note(answer: Answer) -> str:
    return f'<p class="note">{escape(answer.ask.note)}</p>\n' if answer.ask.note else ""


def _way(answer: Answer) -> str:
    return "by message" if answer.ask.by == "message" else "by upload"


def _counts(answer: Answer) -> str:
    seen = answer.comparison
    if seen is None:
        return ""
    if "classification" in (answer.document or {}):
        return _class(answer)
    rows = []
    for label in seen.labels:
        found, there, matched = (counts.get(label, 0) for counts in (seen.found, seen.there, seen.matched))
        share = matched / there if there else 0.0
        rows.append(
            f"<div><dt><span>{escape(label)}</span><b>{found} found, {there} there</b></dt>"
            f'<dd class="bar"><span style="width: {share:.1%}"></span></dd></div>\n'
        )
    return f'<dl class="counts">\n{"".join(rows)}</dl>\n'


def _beds(answer: Answer) -> str:
    if not answer.beds:
        return ""
    rows = "".join(
        f"<tr><th>{escape(bed.label)}</th><td>{bed.found}</td><td>{bed.there}</td></tr>\n" for bed in answer.beds
    )
    head = "<thead><tr><td></td><th>found</th><th>there</th></tr></thead>"
    return f'<table class="beds">\n{head}\n<tbody>\n{rows}</tbody>\n</table>\n'


def _class(answer: Answer) -> str:
    """How sure it is of each class, and which is right."""
    there = answer.comparison.there if answer.comparison else {}
    rows = "".join(
        f"<div><dt><span>{escape(each['label'])}{', as it is' if there.get(each['label']) else ''}</span>"
        f"<b>{each['confidence']:.0%}</b></dt>"
        f'<dd class="bar"><span style="width: {each["confidence"]:.1%}"></span></dd></div>\n'
        for each in (answer.document or {}).get("classification", [])
    )
    return f'<dl class="counts">\n{rows}</dl>\n'


def _matched(answer: Answer) -> str:
    seen = answer.comparison
    if seen is None or "classification" in (answer.document or {}):
        return ""
    return f"{sum(seen.matched.values())} in place"


def _timings(answer: Answer) -> str:
    total, infer = answer.total_ms, answer.timings_ms.get("infer")
    if total is None:
        return ""
    return f"{total:.0f}&nbsp;ms" + (f", model {infer:.0f}&nbsp;ms" if infer is not None else "")
