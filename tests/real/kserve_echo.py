"""KServe's server with a model that gives back each input as an output: `IN_…` as `OUT_…`."""

import argparse
import uuid

import kserve


class Echo(kserve.Model):
    def load(self):
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        outputs = []
        for tensor in payload.inputs:
            output = kserve.InferOutput(
                name=tensor.name.replace("IN_", "OUT_"),
                shape=tensor.shape,
                datatype=tensor.datatype,
            )
            output.set_data_from_numpy(tensor.as_numpy(), binary_data=False)
            outputs.append(output)
        return kserve.InferResponse(
            # An answer has to have one.
            response_id=payload.id or str(uuid.uuid4()), model_name=self.name, infer_outputs=outputs
        )


if __name__ == "__main__":
    given, _ = argparse.ArgumentParser(parents=[kserve.model_server.parser]).parse_known_args()
    echo = Echo("echo")
    echo.load()
    kserve.ModelServer(workers=1).start([echo])
