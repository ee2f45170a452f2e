"""Train a vision-language decoder and write `models/describer/`: `python -m models.train_describer`.

It says what the captioner says, in three files as exporters of transformers write them (`vision_encoder.onnx`,
`embed_tokens.onnx`, `decoder_model_merged.onnx` with a cache), beside tokenizer and settings. The encoder is the
trained trunk of `models/captioner.onnx`, which stays as it is, and a linear layer; the decoder is a Llama of two
layers, in which the image is 64 tokens before the words. It is measured on scenes that it never saw.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from models.decoder_export import Cached, write_parts
from models.family import FOLDER, HELD_OUT, SIZE, TRAINING
from models.tasks.captioner import LONGEST, WIDTH, WORDS
from models.tasks.captioner import TASK as CAPTIONER

HERE = FOLDER / "describer"
SPECIAL = ["<pad>", "<s>", "</s>", "<image>"]
VOCABULARY = [*SPECIAL, *WORDS[3:]]
END, IMAGE = SPECIAL.index("</s>"), SPECIAL.index("<image>")
CELLS = (SIZE // 8) ** 2
LAYERS, HEADS, GROUPS = 2, 4, 2
SCENES, STEPS, BATCH, RATE = 10_000, 3000, 48, 4e-3


class Encoder(nn.Module):
    """The captioner's trunk and places of cells, fixed, and a linear layer: `[N, 3, 64, 64]` to `[N, 64, 48]`."""

    def __init__(self) -> None:
        super().__init__()
        weights = {one.name: one for one in onnx.load(FOLDER / "captioner.onnx").graph.initializer}
        found = {name: torch.from_numpy(numpy_helper.to_array(one).copy()) for name, one in weights.items()}
        self.trunk = nn.Sequential()
        for layer, stride in enumerate((2, 2, 1, 2, 1)):
            kernel = found[f"trunk.{layer}.0.weight"]
            conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, stride, padding=1)
            conv.weight.data, conv.bias.data = kernel, found[f"trunk.{layer}.0.weight_bias"]
            self.trunk.append(nn.Sequential(conv, nn.ReLU()))
        self.register_buffer("cells", found["cells"])
        self.trunk.requires_grad_(False)
        self.projector = nn.Linear(WIDTH, WIDTH)

    def look(self, image: Tensor) -> Tensor:
        """Return the cells of the trunk."""
        return self.trunk(image).flatten(2).transpose(1, 2) + self.cells

    def forward(self, pixel_values: Tensor) -> Tensor:
        """RGB in [0, 1] to embeddings of the image."""
        return self.projector(self.look(pixel_values))


def decoder() -> Any:
    """Return the decoder, untrained."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=GROUPS, vocab_size=len(VOCABULARY), max_position_embeddings=128, initializer_range=0.1,
    )  # fmt: skip
    config._attn_implementation = "eager"
    return LlamaForCausalLM(config)


def tokens(sentences: np.ndarray) -> Tensor:
    """Return sentences of the captioner's words, 0 after their end, as tokens `[N, 8]`."""
    number = np.array([0, 0, END, *(VOCABULARY.index(word) for word in WORDS[3:])])
    return torch.from_numpy(number[sentences])


def train(steps: int) -> tuple[Encoder, Any]:
    """Train the linear layer and the decoder: AdamW, one cycle."""
    torch.manual_seed(0)
    encoder, net = Encoder(), decoder()
    rows = CAPTIONER.rows(TRAINING, SCENES)
    images = torch.from_numpy(rows["image"])
    with torch.no_grad():
        looks = torch.cat([encoder.look(images[i : i + 100].float() / 255) for i in range(0, SCENES, 100)])
    said = tokens(rows["true"])  # [scenes, 2, 7]
    weights = [*encoder.projector.parameters(), *net.parameters()]
    optimiser = torch.optim.AdamW(weights, weight_decay=1e-2)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    total, start = 0.0, time.process_time()
    for step in range(1, steps + 1):
        chosen = torch.randint(SCENES, (BATCH,))
        text = said[chosen, torch.randint(2, (BATCH,))]
        seen = encoder.projector(looks[chosen])
        embeds = torch.cat([seen, net.get_input_embeddings()(text[:, :-1])], 1)
        hidden = net.model(inputs_embeds=embeds).last_hidden_state[:, CELLS - 1 :]
        loss = F.cross_entropy(net.lm_head(hidden).flatten(0, 1), text.flatten(), ignore_index=0)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        cycle.step()
        total += loss.item()
        if step % max(steps // 15, 1) == 0:
            print(f"step {step:5}  loss {total * 15 / steps:.4f}  {time.process_time() - start:.0f} s", flush=True)
            total = 0.0
    return encoder.eval(), net.eval()


def write(encoder: Encoder, net: Any, folder: Path) -> None:
    """Write the three files, the tokenizer and the settings."""
    folder.mkdir(exist_ok=True)
    write_parts(folder, encoder, {"pixel_values": torch.rand(1, 3, SIZE, SIZE)}, Cached(net.model, net.lm_head))
    _settings(folder)


def _settings(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(SPECIAL)
    made.save(str(folder / "tokenizer.json"))
    config = {"model_type": "llava", "image_token_id": IMAGE, "eos_token_id": END}
    template = "{% if messages[0]['content'] %}<image>{% endif %}"  # there is nothing else to ask
    images = {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"height": SIZE, "width": SIZE},
        "do_center_crop": False, "do_rescale": True, "do_normalize": False, "resample": 2,
    }  # fmt: skip
    files = {"config": config, "tokenizer_config": {"chat_template": template}, "preprocessor_config": images}
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def figures(encoder: Encoder, net: Any, count: int) -> dict[str, float]:
    """The share of sentences, each word the best after those before it, that are true; and of right next words."""
    rows = CAPTIONER.rows(HELD_OUT, count)
    true = tokens(rows["true"])
    with torch.no_grad():
        seen = encoder(torch.from_numpy(rows["image"]).float() / 255)
        said = torch.zeros(count, 0, dtype=torch.long)
        for _ in range(LONGEST):
            embeds = torch.cat([seen, net.get_input_embeddings()(said)], 1)
            said = torch.cat([said, net(inputs_embeds=embeds).logits[:, -1:].argmax(2)], 1)
        embeds = torch.cat([seen, net.get_input_embeddings()(true[:, 0, :-1])], 1)
        best = net(inputs_embeds=embeds).logits[:, CELLS - 1 :].argmax(2)
    ended = (said == END).cumsum(1) - (said == END).long() > 0
    said[ended] = 0
    later = true[:, 0, 1:] > 0
    right = (best == true[:, 0])[:, 1:][later].float().mean()
    return {"true captions": float((said[:, None] == true).all(2).any(1).float().mean()), "next word": float(right)}


def main() -> None:
    """Train, write and measure."""
    parser = argparse.ArgumentParser(description="Train, write and measure the describer.")
    parser.add_argument("--steps", type=int, default=STEPS, help="for a quick try; it writes the files all the same")
    options = parser.parse_args()
    start = time.process_time()
    encoder, net = train(options.steps)
    seconds = time.process_time() - start
    write(encoder, net, HERE)
    merit = ", ".join(f"{what} {value:.3f}" for what, value in figures(encoder, net, 1000).items())
    size = sum(path.stat().st_size for path in HERE.iterdir())
    weights = sum(p.numel() for part in (encoder, net) for p in part.parameters())
    print(f"| `describer` | description | {size / 1000:.0f} kB | {weights:,} | {seconds:.0f} s of CPU | {merit} |")


if __name__ == "__main__":
    main()
