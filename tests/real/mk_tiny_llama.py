"""Makes the tiny model: a Llama of two layers with random weights, and a byte-level BPE tokenizer.

The weights come from a fixed seed and the tokenizer is trained on licence texts of the system, so
greedy answers are the same wherever the same licences are installed. What it says means nothing;
how it says it (tokens, limits, streams, log probabilities) is what a large model does.

    python mk_tiny_llama.py FOLDER
"""

import glob
import os
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
CHAT = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    corpus = [f for f in sorted(glob.glob("/usr/share/common-licenses/*"))[:8] if os.path.isfile(f)]
    if not corpus:
        sys.exit("no texts in /usr/share/common-licenses to train a tokenizer on")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train(
        corpus,
        trainers.BpeTrainer(vocab_size=2000, special_tokens=SPECIAL, initial_alphabet=alphabet),
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=2048,
        model_input_names=["input_ids", "attention_mask"],
    )
    wrapped.chat_template = CHAT
    return wrapped


def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
        torch_dtype="bfloat16",
    )
    return LlamaForCausalLM(config).to(torch.bfloat16)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    tokenizer().save_pretrained(folder)
    # Last: its presence says that the model is whole.
    model().save_pretrained(folder)


if __name__ == "__main__":
    main()
