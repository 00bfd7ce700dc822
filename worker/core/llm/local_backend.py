"""Ask a transformers model in this process: for the gpu worker, where no server is wanted."""

import threading
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from worker.core.llm.messages import Answer, CallFailed, Question, storable, without_reasoning


class LocalBackend:
    """A causal language model, by folder or name: safetensors only, no code of its own, one call at a time."""

    def __init__(self, model: str, *, device: str | None = None) -> None:
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
            model_as_loaded: Any = AutoModelForCausalLM.from_pretrained(
                model, trust_remote_code=False, use_safetensors=True, dtype="auto"
            )
        except (OSError, ValueError) as error:
            raise CallFailed(f"The model {model} cannot be loaded: {str(error)[:200]}", unusable=True) from error
        self._model = model_as_loaded.to(self._device).eval()
        self._most = int(getattr(self._model.config, "max_position_embeddings", 0)) or 2**31
        self._lock = threading.Lock()

    def ask(self, question: Question) -> Answer:
        """Return the answer, sampled with the question's temperature (0: the likeliest token each time).

        Sampling is seeded with the repetition. Raises CallFailed when the question leaves no room for an answer.
        """
        with self._lock, torch.inference_mode():
            tokens = self._tokenizer(self._prompt(question), return_tensors="pt", add_special_tokens=False)
            sent = tokens["input_ids"].shape[1]
            room = min(question.max_tokens, self._most - sent)
            if room < 1:
                raise CallFailed(f"The question has {sent} tokens and the model takes {self._most}.")
            sampled = question.temperature > 0
            torch.manual_seed(question.repetition)
            out = self._model.generate(
                **{name: tensor.to(self._device) for name, tensor in tokens.items() if name != "token_type_ids"},
                max_new_tokens=room,
                do_sample=sampled,
                temperature=question.temperature if sampled else None,
                top_p=1.0 if sampled else None,
                top_k=0 if sampled else None,
                pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id or 0,
            )
            said = out[0, sent:].tolist()
        ends = {self._tokenizer.eos_token_id}
        truncated = len(said) >= room and (not said or said[-1] not in ends)
        text, thought = without_reasoning(storable(self._tokenizer.decode(said, skip_special_tokens=True)))
        return Answer(text, thought, sent, len(said), truncated)

    def _prompt(self, question: Question) -> str:
        turns = [{"role": role, "content": text} for role, text in question.messages]
        if getattr(self._tokenizer, "chat_template", None):
            return str(self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        return "".join(f"{turn['role'].capitalize()}: {turn['content']}\n\n" for turn in turns) + "Assistant:"
