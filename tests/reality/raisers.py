"""Raises what has nothing to do with loading models, for real, and prints each traceback. Run by test_silence.py in a stack."""

from __future__ import annotations

import json
import socket
import tempfile
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

T = torch.tensor
net, optimizer_of = nn.Linear(4, 2), torch.optim.SGD


class Bad(torch.utils.data.Dataset[Any]):
    """Breaks at its third item."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        return {"x": torch.zeros(index + 1)} if index < 3 else {}["device"]


def loaded(workers: int, size: int) -> Any:
    return list(torch.utils.data.DataLoader(Bad(), batch_size=size, num_workers=workers))


def twice() -> None:
    loss = net(torch.zeros(1, 4)).sum()
    loss.backward()
    loss.backward()


def in_place() -> None:
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    y += 1
    y.sum().backward()


def tokenizers_error(text: str) -> Any:
    import tokenizers

    return tokenizers.Tokenizer.from_str(text)


def config_error(**given: Any) -> Any:
    from transformers import LlamaConfig, LlamaModel

    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 10}
    return LlamaModel(LlamaConfig(**(small | given)))


def user(code: str) -> Callable[[], object]:
    return lambda: exec(code, {"torch": torch, "nn": nn, "np": np, "net": net})


RAISERS: tuple[Callable[[], object], ...] = (
    lambda: torch.zeros(2, 3) @ torch.zeros(4, 5),
    lambda: torch.zeros(3) + torch.zeros(4),
    lambda: torch.cat([torch.zeros(2, 3), torch.zeros(2, 4)]),
    lambda: torch.stack([torch.zeros(2), torch.zeros(3)]),
    lambda: torch.zeros(6).view(4, 2),
    lambda: torch.zeros(6).reshape(4, 2),
    lambda: torch.zeros(3)[5],
    lambda: torch.zeros(3, 3)[0, 0, 0],
    lambda: nn.Embedding(4, 2)(T([7])),
    lambda: nn.functional.cross_entropy(torch.zeros(2, 3), T([0, 5])),
    lambda: nn.functional.cross_entropy(torch.zeros(2, 3), T([0])),
    lambda: nn.functional.mse_loss(torch.zeros(2), torch.zeros(3)),
    lambda: nn.Conv2d(3, 4, 3)(torch.zeros(1, 1, 8, 8)),
    lambda: net(torch.zeros(1, 5)),
    lambda: net(T([[1, 2, 3, 4]])),
    lambda: net("text"),
    lambda: net.load_state_dict({"weight": torch.zeros(3, 3)}),
    lambda: net.load_state_dict({}),
    lambda: torch.zeros(2, requires_grad=True).numpy(),
    lambda: torch.zeros(2).backward(),
    lambda: torch.zeros(2, 2, requires_grad=True).exp().backward(),
    twice,
    in_place,
    lambda: torch.tensor([[1, 2], [3]]),
    lambda: torch.tensor("a"),
    lambda: torch.zeros(-1),
    lambda: torch.zeros(2).item(),
    lambda: int(torch.zeros(2)),
    lambda: bool(torch.zeros(2)),
    lambda: torch.zeros(2).to("nowhere"),
    lambda: torch.zeros(2).type("FloatTensorr"),
    lambda: torch.load("/no/such/file.pt"),
    lambda: torch.jit.load("/no/such/file.pt"),
    lambda: torch.softmax(torch.zeros(2), dim=5),
    lambda: torch.zeros(2).unsqueeze(9),
    lambda: torch.zeros(2, 3).squeeze(7),
    lambda: torch.zeros(2, 3).transpose(0, 4),
    lambda: torch.multinomial(torch.zeros(3), 1),
    lambda: torch.linalg.inv(torch.zeros(2, 2)),
    lambda: torch.linalg.cholesky(-torch.eye(2)),
    lambda: torch.distributions.Normal(T([0.0]), T([-1.0])),
    lambda: torch.gather(torch.zeros(2, 2), 1, T([[5]])),
    lambda: torch.zeros(2).scatter_(0, T([9]), 1.0),
    lambda: torch.where(T([1, 2]), 1, 0).foo,
    lambda: optimizer_of([], lr=0.1),
    lambda: optimizer_of(net.parameters(), lr=-1),
    lambda: torch.utils.data.DataLoader([1], batch_size=0),
    lambda: loaded(0, 1),
    lambda: loaded(0, 2),
    lambda: loaded(1, 4),
    lambda: nn.MultiheadAttention(5, 2),
    lambda: nn.LSTM(4, 2)(torch.zeros(2, 2, 2, 2)),
    lambda: nn.Sequential(1),
    lambda: nn.Module().forward(),
    lambda: nn.Module().weight,
    lambda: net.wieght,
    lambda: torch.no_such_function(1),
    lambda: torch.float19,
    lambda: torch.manual_seed("a"),
    lambda: np.zeros(3) + np.zeros(4),
    lambda: np.zeros((2, 3)) @ np.zeros((2, 3)),
    lambda: np.zeros(3)[7],
    lambda: np.array([1, 2]).reshape(3, 3),
    lambda: np.concatenate([np.zeros((2, 2)), np.zeros(3)]),
    lambda: np.load("/no/such/file.npy"),
    lambda: np.float65,
    lambda: np.linalg.inv(np.zeros((2, 2))),
    lambda: np.array(["a"]).astype(float),
    lambda: urllib.request.urlopen("http://127.0.0.1:9/model.json", timeout=1),
    lambda: urllib.request.urlopen("http://no-such-host.invalid/", timeout=1),
    lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
    lambda: json.loads('{"load_in_4bit": tru}'),
    lambda: json.loads(""),
    lambda: Path("/no/such/cuda.json").read_text(),
    lambda: Path("/").write_text("x"),
    lambda: tempfile.mkstemp(dir="/no/such/folder"),
    lambda: tokenizers_error("{}"),
    lambda: tokenizers_error("no json"),
    lambda: config_error(hidden_size=7)(T([[1, 2]])),
    lambda: config_error()(T([[1, 99]])),
    lambda: config_error()("text"),
    lambda: config_error().generate(T([[1]])),
    user("device = 'cuda:0'\nprint(devce)"),
    user("def to_cuda(batch): return batch['labels'].cuda\nto_cuda({})"),
    user("cuda = None\ncuda.synchronize()"),
    user("load_in_4bit = 'yes'\nassert load_in_4bit is True, 'load_in_4bit must be given'"),
    user("raise ValueError('pick a device: cpu or cuda, not tpu')"),
    user("raise RuntimeError('quantization step 4bit is bigger than the image')"),
    user("class Net(nn.Module):\n  def forward(self, x): return self.gpu(x)\nNet()(1)"),
    user("net.to(devise='cpu')"),
    user("{'cuda': 0}['gpu']"),
    user("[torch.zeros(1)].to('cpu')"),
    user("import my_cuda_kernels"),
    user("from torch import bfloat61"),
    user("int('fp16')"),
    user("open('/no/such/bf16.txt')"),
    user("torch.zeros(2).to(torch.device)"),
    user("for batch in 5: pass"),
    user("f'{device}'"),
    user("assert torch.zeros(1), 'no gradient'"),
    user("class Trainer:\n    def __init__(self, model): pass\nTrainer(model=1, lr=2)"),
    user("class LoraConfig:\n    def __init__(self, r): pass\nLoraConfig(r=1, alpa=2)"),
    user("class Config:\n    def __init__(self, **k): self.__dict__.update(k)\nConfig(bits=4).quant_method"),
    user("import torch\nmodel=torch.nn.Linear(2,2)\nmodel.generate(torch.zeros(1,2))"),
    user(
        "import torch\nclass VLM(torch.nn.Module):\n    def forward(self, pixel_values): return pixel_values\nVLM()(pixel_values=1, image_grid_thw=2)"
    ),
    user("from transformers import AutoTokenizer\nAutoTokenizer.from_pretraind('x')"),
    user(
        "from torch.utils.data import DataLoader\nfor b in DataLoader([{'input_ids':[1]},{'input_ids':[1,2]}],batch_size=2): b['input_ids'].cuda"
    ),
    user("cfg={'model_type':'qwen2_vl'}\ncfg['quantization_config']['bits']"),
    user("raise ValueError('device_map must be a dict in our config.yaml')"),
    user("raise RuntimeError('GPU job 4711 was cancelled by the user')"),
    user("raise RuntimeError('loading shard 3 of 4 failed: checksum')"),
    user("raise KeyError('pixel_values')"),
    user("raise AssertionError('number of image tokens 1225 does not match number of image features 1024')"),
    user("raise ValueError('Image features and image tokens do not match: tokens: 1224, features 1226')"),
    user("assert 'cuda' in 'cpu', 'we only test on cuda'"),
    user("import torch\ntorch.zeros(3, dtype=torch.bfloat16).numpy()"),
    user("import torch\ntorch.zeros(4,4).to(torch.float16) @ torch.zeros(3,3).to(torch.float16)"),
    user("import torch\ntorch.zeros(2,3) @ torch.zeros(3,2).half()"),
    user("import torch\ntorch.nn.Linear(4,4).half()(torch.zeros(1,4))"),
    user("import torch\nx=torch.zeros(2); torch.save(x,'/no/such/dir/model.safetensors')"),
    user("open('/no/such/dir/model.bin')"),
    user("open('/no/such/pytorch_model.bin','rb')"),
    user("import json\njson.load(open('/no/such/config.json'))"),
    user("import os\nos.environ['LOCAL_RANK']"),
    user("import os\nint(os.environ.get('CUDA_VISIBLE_DEVICES','a,b'))"),
    user("import numpy as np\nnp.zeros((10**7,10**6))"),
    user("import subprocess\nsubprocess.run(['nvidia-smi-not-there'])"),
    user("import subprocess\nsubprocess.run(['python3','-c','import sys; sys.exit(3)'],check=True)"),
    user("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/v1/models')"),
    user("from huggingface_hub import HfApi\nHfApi().upload_file(path_or_fileobj='/no/such', path_in_repo='x', repo_id='a/b')"),
    user("from PIL import Image\nImage.open('/no/such.png')"),
    user("import io\nfrom PIL import Image\nImage.open(io.BytesIO(b'abc'))"),
    user("import torch\ntorch.load('/etc/hostname')"),
    user("import torch\nsd={'a':torch.zeros(1)}\nsd['model.layers.0.self_attn.q_proj.weight']"),
    user(
        "import torch\nm=torch.nn.Sequential(torch.nn.Linear(2,2)); m.load_state_dict({'0.weight':torch.zeros(3,3),'0.bias':torch.zeros(2)})"
    ),
    user("import torch\ntorch.utils.checkpoint.checkpoint(None, torch.zeros(1))"),
    user(
        "import torch\nopt=torch.optim.AdamW(torch.nn.Linear(2,2).parameters()); opt.load_state_dict({'state':{}, 'param_groups':[{'params':[0,1,2]}]})"
    ),
    user("import torch\nscaler=torch.amp.GradScaler('cpu'); scaler.update()"),
    user("import torch.distributed as dist\ndist.get_rank()"),
    user("import torch\ntorch.compile(5)"),
    user("from transformers import pipeline\npipeline('no-such-task')"),
    user(
        "from transformers import LlamaConfig, LlamaForCausalLM\nimport torch\nLlamaForCausalLM(LlamaConfig(hidden_size=8,intermediate_size=8,num_hidden_layers=1,num_attention_heads=2,vocab_size=10))(torch.tensor([[1,2]]), labels=torch.tensor([[1,2,3]]))"
    ),
    user("from transformers import PreTrainedTokenizerFast\nPreTrainedTokenizerFast(tokenizer_file='/no/such/tokenizer.json')"),
    user("from tokenizers import Tokenizer\nTokenizer.from_file('/etc/hostname')"),
    user("from peft import LoraConfig\nLoraConfig(r=8, lora_alpa=16)"),
    user("from accelerate import Accelerator\nAccelerator().prepare_modl(1)"),
    user(
        "from transformers import Trainer\nclass MyTrainer(Trainer):\n    def compute_loss(self, model): pass\nMyTrainer.compute_loss(None, 1, 2)"
    ),
    user("import yaml_not_there"),
    user("from qwen_vl_utils import process_vision_info"),
    user("import cv2"),
    user("@staticmethod\ndef quantize(): pass\nquantize(4, bits=8).to('cuda')"),
)


if __name__ == "__main__":
    for number, run in enumerate(RAISERS):
        print(f"<<<{number}>>>")
        try:
            run()
            print("nothing raised")
        except BaseException:
            print(traceback.format_exc())
