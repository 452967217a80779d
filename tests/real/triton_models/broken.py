"""Fails, whatever it is asked."""

import triton_python_backend_utils as backend


class TritonPythonModel:
    def execute(self, requests):
        error = backend.TritonError("it broke")
        return [backend.InferenceResponse([], error) for _ in requests]
