"""TensorRT: engines, what runs them, and TensorRT inside TVM."""
