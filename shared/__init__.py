"""The processing of images, independent of the platform: tenants, models, pipelines, images and results."""
