"""From an artifact to a product: bundles, images, serving, running on time, watching a fleet."""
