"""The platform side: entry points, envelopes, verdicts and answers."""
