"""A scripted language model, and endpoints that ask it."""

import pytest

from apps.endpoints.services import create_endpoint
from tests.language_model_server import speaking

KEY = "sk-very-secret-key"


@pytest.fixture
def local(settings):
    settings.OUTGOING_ALLOW = ["127.0.0.0/8"]
    settings.MODEL_RETRY_SECONDS = 0.01


@pytest.fixture
def server(local):
    with speaking() as running:
        yield running


@pytest.fixture
def endpoint(server, manager):
    return create_endpoint(owner=manager, name="Scripted", model="m-1", base_url=server.url, api_key=KEY)


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory):
    """Save a random model of 2 layers and width 8 with a tokenizer of bytes; return its folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = str(tmp_path_factory.mktemp("tiny-language-model"))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<eos>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>").save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        eos_token_id=0,
        pad_token_id=0,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
