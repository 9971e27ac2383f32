"""Container images of a model: one static server, written without a Docker daemon."""
