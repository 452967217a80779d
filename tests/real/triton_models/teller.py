"""Says the words of a text again, each once more in capitals, through the tensors of Triton's vLLM
backend: a piece a word where `stream` is set, else one answer.

Names, types, defaults and what is refused are those of that backend (vllm_backend, src/model.py);
sampling parameters come as the tensor, or as parameters of the request, as `generate` sends them.
"""

import json

import numpy as np
import triton_python_backend_utils as backend


def given(request, name, default):
    tensor = backend.get_input_tensor_by_name(request, name)
    return default if tensor is None else tensor.as_numpy().reshape(-1)[0]


def sampling(request):
    packed = given(request, "sampling_parameters", None)
    told = json.loads(packed if packed is not None else request.parameters() or "{}")
    stop = told.get("stop") or []
    return (
        int(told.get("max_tokens") or 16),
        [stop] if isinstance(stop, str) else stop,
        str(told.get("include_stop_str_in_output", False)).lower() == "true",
    )


def said(text, longest, stops, include_stop):
    """Pieces, and why they end."""
    pieces = [piece for word in text.split() for piece in (word + " ", word.upper() + " ")]
    for at, piece in enumerate(pieces[:longest]):
        stop = next((stop for stop in stops if stop in piece), None)
        if stop is not None:
            end = piece.index(stop) + (len(stop) if include_stop else 0)
            return pieces[:at] + [piece[:end]], "stop"
    return pieces[:longest], "length" if len(pieces) > longest else "stop"


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            try:
                self.answer(request, sender)
            except ValueError as problem:
                error = backend.TritonError(str(problem))
                sender.send(backend.InferenceResponse([], error))
            sender.send(flags=backend.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def answer(self, request, sender):
        text = given(request, "text_input", b"").decode()
        stream = bool(given(request, "stream", False))
        exclude = bool(given(request, "exclude_input_in_output", stream))
        if stream and not exclude:
            raise ValueError("When streaming, 'exclude_input_in_output' = False is not allowed.")
        pieces, reason = said(text, *sampling(request))
        parts = [[piece] for piece in pieces] if stream else [pieces]
        for at, part in enumerate(parts):
            told = "".join(part)
            if not exclude:
                told = text + told
            last = at + 1 == len(parts)
            tensors = [("text_output", [told.encode()], object)]
            if given(request, "return_finish_reason", False):
                tensors.append(("finish_reason", [(reason if last else "None").encode()], object))
            if given(request, "return_num_input_tokens", False):
                tensors.append(("num_input_tokens", [len(text.split())], np.uint32))
            if given(request, "return_num_output_tokens", False):
                tensors.append(("num_output_tokens", [len(part)], np.uint32))
            sender.send(backend.InferenceResponse(
                [backend.Tensor(name, np.array(values, dtype=kind)) for name, values, kind in tensors]
            ))
