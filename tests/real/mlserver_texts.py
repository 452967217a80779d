"""Vectors of `TEXTS`, a length and a first byte, and `PROMPT` in capitals; by the codec of strings."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

import numpy as np


class Texts(MLModel):
    async def load(self):
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        outputs = []
        for tensor in payload.inputs:
            texts = StringCodec.decode_input(tensor)
            if tensor.name == "TEXTS":
                rows = [[len(text.encode()), (text.encode() or b"\0")[0]] for text in texts]
                outputs.append(NumpyCodec.encode_output("VECTORS", np.array(rows, np.float64)))
            else:
                outputs.append(StringCodec.encode_output("TEXT", [text.upper() for text in texts]))
        return InferenceResponse(model_name=self.name, outputs=outputs)
