"""Images as arrays: decoded, encoded, resampled and placed on a model's canvas."""
