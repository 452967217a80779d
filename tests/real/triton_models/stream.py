"""An answer for every word."""

import numpy as np
import triton_python_backend_utils as backend


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            text = backend.get_input_tensor_by_name(request, "text_input").as_numpy()[0].decode()
            for word in text.split():
                output = backend.Tensor("text_output", np.array([word.encode()], dtype=object))
                sender.send(backend.InferenceResponse([output]))
            sender.send(flags=backend.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
