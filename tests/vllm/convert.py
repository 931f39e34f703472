"""convert.py FILE.gguf FOLDER: a GGUF file's weights, tokenizer and chat template as a folder that vLLM reads. Runs in vLLM's environment."""

import sys
from pathlib import Path

import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

source, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
template = GGUFReader(source).fields["tokenizer.chat_template"].contents()
tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
tokenizer.chat_template = template
model = AutoModelForCausalLM.from_pretrained(
    source.parent,
    gguf_file=source.name,
    dtype=torch.bfloat16,
    quantization_config=GgufConfig(gguf_file=str(source), dequantize=True),
)
# The weights are dense now; vLLM must not look for quantised ones.
vars(model.config).pop("quantization_config", None)
tokenizer.save_pretrained(target)
model.save_pretrained(target)
