"""Builds, runs and times TensorRT engines."""
