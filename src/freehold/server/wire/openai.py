"""OpenAI's chat completions on the wire: what we take, what we refuse by name, and what our answers look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from freehold.core.errors import NotSupported
from freehold.server.conversation import Answer
from freehold.server.wire.body import Body, JsonObject

_AGENTS_OWN = "the agent behind this model has tools of its own"


class ChatMessage(Body):
    """A message of the conversation so far."""

    refused: ClassVar[Mapping[str, str]] = {"function_call": "use tool_calls", "audio": "only text and images"}

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[JsonObject] | None = None
    name: str | None = None
    tool_calls: list[JsonObject] | None = None
    tool_call_id: str | None = None

    def plain(self) -> JsonObject:
        return {"content": "", **self.model_dump(exclude_none=True)}


class StreamOptions(Body):
    """`{"include_usage": true}` adds a last chunk with the tokens used."""

    include_usage: bool = False


class CompletionBody(Body):
    """A request for a chat completion. `temperature`, `top_p`, `max_tokens`, `stop` and `seed` are handed to the graph."""

    refused: ClassVar[Mapping[str, str]] = {
        "tools": _AGENTS_OWN,
        "functions": _AGENTS_OWN,
        "function_call": _AGENTS_OWN,
        "logprobs": "leave it out",
        "top_logprobs": "leave it out",
        "logit_bias": "leave it out",
        "prediction": "leave it out",
        "audio": "only text is answered",
        "web_search_options": _AGENTS_OWN,
    }

    model: Annotated[str, Field(min_length=1)]
    """An agent: the id of its graph."""
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int = 1
    response_format: JsonObject | None = None
    modalities: tuple[str, ...] = ("text",)
    presence_penalty: float = 0
    frequency_penalty: float = 0
    tool_choice: Any = None
    parallel_tool_calls: Any = None

    @model_validator(mode="after")
    def _refuse_values(self) -> CompletionBody:
        if self.n != 1:
            raise NotSupported('"n" other than 1 is not supported', hint="ask several times")
        if self.response_format and self.response_format.get("type") != "text":
            raise NotSupported('"response_format" other than text is not supported', hint="describe the format in the message")
        if self.modalities != ("text",):
            raise NotSupported('"modalities" other than text are not supported')
        if self.presence_penalty or self.frequency_penalty:
            raise NotSupported('"presence_penalty" and "frequency_penalty" are not supported', hint="leave them out")
        if self.tool_choice not in (None, "none", "auto"):
            raise NotSupported('"tool_choice" is not supported', hint=_AGENTS_OWN)
        return self

    def sampling(self) -> JsonObject:
        """What the graph finds in `config.configurable`."""
        asked = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "stop": self.stop,
            "seed": self.seed,
        }
        return {name: value for name, value in asked.items() if value is not None}


def usage(answer: Answer) -> dict[str, int]:
    """Tokens of all model calls of the turn; zeros where the model server does not report them."""
    found = answer.usage or {}
    return {
        "prompt_tokens": found.get("input_tokens", 0),
        "completion_tokens": found.get("output_tokens", 0),
        "total_tokens": found.get("total_tokens", 0),
    }


def completion(head: JsonObject, answer: Answer) -> JsonObject:
    """A whole completion; `head` is `{"id", "created", "model"}`."""
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": usage(answer)}


def chunk(head: JsonObject, delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
    """A piece of a streamed completion."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**head, "object": "chat.completion.chunk", "choices": [choice]}


def usage_chunk(head: JsonObject, answer: Answer) -> JsonObject:
    """The last piece where the client asked for usage."""
    return {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage(answer)}
