"""Eight bits: after training (PTQ) or with it (QAT), as QDQ ONNX."""
