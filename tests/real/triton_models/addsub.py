"""The sum of two tensors, and their difference."""

import triton_python_backend_utils as backend


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(request) for request in requests]

    def one(self, request):
        a, b = (
            backend.get_input_tensor_by_name(request, name).as_numpy()
            for name in ("INPUT0", "INPUT1")
        )
        outputs = [backend.Tensor("OUTPUT0", a + b), backend.Tensor("OUTPUT1", a - b)]
        return backend.InferenceResponse(outputs)
