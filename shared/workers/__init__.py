"""Worker processes that compute what strangers' files ask for: bounded in memory, and killed when they overrun."""
