"""A text in capitals, in one answer, as many words as the parameter `max_tokens` says."""

import json

import numpy as np
import triton_python_backend_utils as backend


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        most = int(json.loads(request.parameters() or "{}").get("max_tokens", 16))
        texts, reasons = [], []
        for prompt in backend.get_input_tensor_by_name(request, "PROMPT").as_numpy().reshape(-1):
            words = prompt.decode().upper().split()
            texts.append([" ".join(words[:most]).encode()])
            reasons.append([b"length" if len(words) > most else b"stop"])
        return backend.InferenceResponse([
            backend.Tensor("TEXT", np.array(texts, dtype=object)),
            backend.Tensor("finish_reason", np.array(reasons, dtype=object)),
        ])
