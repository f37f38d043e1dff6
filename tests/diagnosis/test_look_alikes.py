"""Errors whose words resemble those of another cause: each gets its own code, or none."""

from __future__ import annotations

import pytest

import qvl_preflight

_COUNT = (
    "RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() "
    "that might have already set an error? Error "
)
_OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.15 GiB of which 1.20 GiB is free. "


def codes(text: str) -> list[str]:
    return [each.code for each in qvl_preflight.diagnose(text)]


def raised(error: str, *files: str) -> str:
    frames = "".join(f'  File "{file}", line 3, in run\n    run()\n' for file in files)
    return f"Traceback (most recent call last):\n{frames}{error}\n"


@pytest.mark.parametrize(("number", "words", "code"), [
    (2, "out of memory", "QVL190"), (3, "initialization error", None), (36, "API call is not supported in the installed CUDA driver", "QVL103"),
    (101, "invalid device ordinal", "QVL202"), (304, "OS call failed or operation not supported on this OS", None),
    (802, "system not yet initialized", "QVL290"), (803, "system has unsupported display driver / cuda driver combination", "QVL107"),
    (804, "forward compatibility was attempted on non supported HW", "QVL107"), (999, "unknown error", "QVL113"), (42, "something", None),
])  # fmt: skip
def test_the_number_of_a_refused_count_decides(number: int, words: str, code: str | None) -> None:
    """One sentence of torch stands before errors of very different causes."""
    assert codes(f"{_COUNT}{number}: {words}")[:1] == ([code] if code else [])


@pytest.mark.parametrize(("text", "code"), [
    ("OSError: Error no file named pytorch_model.bin, model.safetensors, tf_model.h5, model.ckpt.index or flax_model.msgpack found in directory ./out.", "QVL901"),
    ("OSError: Error no file named model.safetensors, or pytorch_model.bin, found in directory ./out.", "QVL901"),
    ("OSError: ./Qwen-VL does not appear to have a file named pytorch_model-00003-of-00010.bin. Checkout 'https://huggingface.co/./Qwen-VL/tree/None' for available files.", "QVL901"),
    ("OSError: Qwen/Qwen-VL does not appear to have a file named pytorch_model-00003-of-00010.bin.", "QVL952"),
    (raised("ModuleNotFoundError: No module named 'transformers.generation.beam_search'", "/c/transformers_modules/Qwen/modeling_qwen.py"), "QVL911"),
    ("ValueError: bf16 mixed precision requires PyTorch >= 1.10 and a supported device.", "QVL806"),
    (_OOM + "Process 123 has 70.12 GiB memory in use. Including non-PyTorch memory, this process has 7.80 GiB memory in use.", "QVL117"),
    (_OOM + "Process 123 has 7.12 GiB memory in use. Including non-PyTorch memory, this process has 70.80 GiB memory in use.", "QVL190"),
    (_OOM + "Process 123 has 17179869184.00 GiB memory in use. Including non-PyTorch memory, this process has 70.80 GiB memory in use.", "QVL190"),
    ("import bitsandbytes\nOSError: libcudart.so.11.0: cannot open shared object file: No such file or directory", "QVL390"),
    ("Collecting flash-attn\n  ModuleNotFoundError: No module named 'torch'\n  error: subprocess-exited-with-error", "QVL691"),
    ("TypeError: LlamaForCausalLM.__init__() got an unexpected keyword argument 'load_in_4bit'", "QVL903"),
    ("TypeError: Seq2SeqTrainingArguments.__init__() got an unexpected keyword argument 'evaluation_strategy'", "QVL820"),
    (raised("KeyError: 'qwen2'", "/v/transformers/models/auto/configuration_auto.py"), "QVL907"),
    (raised("AttributeError: 'frozenset' object has no attribute 'discard'", "/v/transformers/integrations/bitsandbytes.py"), "QVL332"),
])  # fmt: skip
def test_its_own_code(text: str, code: str) -> None:
    """First, whatever else is listed behind it."""
    assert codes(text)[:1] == [code]


@pytest.mark.parametrize("text", [
    "ImportError: libcudart.so.11.0: cannot open shared object file: No such file or directory",
    "W tensorflow/stream_executor/platform/default/dso_loader.cc:64] Could not load dynamic library 'libcudart.so.11.0'; dlerror: libcudart.so.11.0: cannot open shared object file",
    "requests.exceptions.SSLError: (MaxRetryError(\"HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /gpt2/resolve/main/config.json "
    "(Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed')))\"))",
    raised("AttributeError: 'NoneType' object has no attribute 'to'", "/app/my.py"),
    raised("AttributeError: 'NoneType' object has no attribute 'cuda'", "/app/my.py"),
    raised("TypeError: Config.__init__() got an unexpected keyword argument 'load_in_4bit'", "/app/my.py"),
    raised("TypeError: MyTrainer.__init__() got an unexpected keyword argument 'evaluation_strategy'", "/app/my.py"),
    raised("KeyError: 'llama'", "/app/my.py"), "KeyError: 'qwen2'",
    raised("numpy.core._exceptions._ArrayMemoryError: Unable to allocate 12.0 GiB for an array with shape (40000, 40000) and data type float64", "/app/my.py"),
    raised("subprocess.CalledProcessError: Command '['ffmpeg', 'a.mp4']' died with <Signals.SIGKILL: 9>.", "/app/my.py"),
    raised("ValueError: numpy.dtype size changed, may indicate binary incompatibility.", "/v/site-packages/pandas/__init__.py"),
    "requests.exceptions.MissingSchema: Invalid URL 'localhost:8000/generate': No scheme supplied. Perhaps you meant https://localhost:8000/generate?",
    "jaxlib.xla_extension.XlaRuntimeError: INTERNAL: CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image is available for execution on the device",
    raised("AttributeError: 'frozenset' object has no attribute 'discard'", "/app/my.py"),
    raised("ModuleNotFoundError: No module named 'flash_attn'", "x.py") + "\nDuring handling of the above exception, another exception occurred:\n\n"
    + raised("json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)", "x.py"),
])  # fmt: skip
def test_silence(text: str) -> None:
    """A program's own error, or that of another library, gets no name out of this stack."""
    assert codes(text) == []


@pytest.mark.parametrize(("text", "code"), [
    ("OSError: You are trying to access a gated repo.\nMake sure to have access to it at https://huggingface.co/meta-llama/Llama-2-7b-hf.\n401 Client Error. (Request ID: x)", "QVL970"),
    ("huggingface_hub.errors.HfHubHTTPError: 403 Forbidden: Please enable access to public gated repositories in your fine-grained token settings to view this repository..\n"
     "Cannot access content at: https://huggingface.co/google/gemma-2-2b/resolve/main/config.json.\nMake sure your token has the correct permissions.", "QVL970"),
    ("requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/api/models/me/private", "QVL970"),
    ("OSError: ./chekpoint is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'", "QVL971"),
    ("huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/data/models/Qwen-VL'. Use `repo_type` argument if needed.", "QVL971"),
    ("RuntimeError: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! (when checking argument for argument index in method wrapper_CUDA__index_select)", "QVL495"),
    ("RuntimeError: Expected all tensors to be on the same device, but found at least two devices, cpu and cuda:3!", "QVL495"),
    ("RuntimeError: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cuda:1!", "QVL493"),
    ("RuntimeError: CUDA error: all CUDA-capable devices are busy or unavailable", "QVL116"),
    ("RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable", "QVL116"),
    (raised("FileNotFoundError: No such file or directory: /data/qwen/model-00002-of-00002.safetensors", "/v/transformers/modeling_utils.py"), "QVL901"),
])  # fmt: skip
def test_refused_and_misplaced(text: str, code: str) -> None:
    """What the hub refuses, names that are no checkpoint, and tensors that are elsewhere."""
    assert codes(text)[:1] == [code]


@pytest.mark.parametrize("text", [
    "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://api.example.org/v1/me",
    raised("FileNotFoundError: No such file or directory: 'model.bin'", "/app/my.py"),
    raised("TypeError: LoraConfig.__init__() got an unexpected keyword argument 'alpa'", "/app/my.py"),
    raised("AssertionError: 10 is not divisible by 3", "/app/my.py"),
    raised("KeyError: 'layers.0.qweight'", "/app/my.py"),
])  # fmt: skip
def test_silence_beside_them(text: str) -> None:
    """The same words of a program's own."""
    assert codes(text) == []
