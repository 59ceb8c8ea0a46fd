import numpy as np
import pytest


@pytest.fixture(scope="session")
def run_onnx():
    """Run a graph, one thread: ``run_onnx(graph, waves)`` -> logits and frames; waves are padded to the longest."""
    import onnxruntime

    def run(graph, waves):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
        lengths = np.array([len(wave) for wave in waves], np.int64)
        values = np.stack([np.pad(wave, (0, lengths.max() - len(wave))) for wave in waves]).astype(np.float32)
        return session.run(None, {"input_values": values, "lengths": lengths})

    return run
