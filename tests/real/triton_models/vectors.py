"""Vectors of texts: a text's length in bytes and its first byte; its words are its tokens."""

import numpy as np
import triton_python_backend_utils as backend


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        texts = backend.get_input_tensor_by_name(request, "TEXTS").as_numpy().reshape(-1)
        vectors = [[len(text), text[0] if text else 0] for text in texts]
        return backend.InferenceResponse([
            backend.Tensor("VECTORS", np.array(vectors, dtype=np.float32)),
            backend.Tensor("LENGTHS", np.array([len(text.split()) for text in texts], np.int64)),
        ])
