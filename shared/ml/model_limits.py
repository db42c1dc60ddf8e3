"""What is served of strangers' models, and no more: settings, as `shared.ml` takes them."""

from __future__ import annotations

from dataclasses import dataclass

from shared.config import MODEL_DOMAINS, Config


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """`max_bytes` of a file; `max_run_s` of one run; `domains` whose operators a model may use."""

    max_bytes: int = 512 * 2**20
    max_run_s: float = 60.0
    domains: tuple[str, ...] = MODEL_DOMAINS

    @classmethod
    def of(cls, config: Config) -> ModelLimits:
        return cls(max_bytes=config.max_model_bytes, max_run_s=config.max_run_s, domains=config.model_domains)
