"""Hooks with a key for each tenant, which the context names. Not for use: a keystream made of a hash is no cipher."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import Any

from langgraph_sdk import Encryption, EncryptionContext

encryption = Encryption()

CLEAR = {"owner", "topic"}
PREFIX = "sealed:"


@encryption.context
async def context(user: Any, ctx: EncryptionContext) -> dict[str, Any]:
    return {**ctx.metadata, "tenant": ctx.metadata.get("tenant", "nobody"), "user": user.identity}


@encryption.encrypt.blob
async def encrypt_blob(ctx: EncryptionContext, blob: bytes) -> bytes:
    return _seal(blob, ctx)


@encryption.decrypt.blob
async def decrypt_blob(ctx: EncryptionContext, blob: bytes) -> bytes:
    return _open(blob, ctx)


@encryption.encrypt.json
async def encrypt_json(ctx: EncryptionContext, data: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value if key in CLEAR else PREFIX + base64.b64encode(_seal(json.dumps(value).encode(), ctx)).decode()
        for key, value in data.items()
    }


@encryption.decrypt.json
async def decrypt_json(ctx: EncryptionContext, data: dict[str, Any]) -> dict[str, Any]:
    return {
        key: json.loads(_open(base64.b64decode(value.removeprefix(PREFIX)), ctx))
        if isinstance(value, str) and value.startswith(PREFIX)
        else value
        for key, value in data.items()
    }


def _key(ctx: EncryptionContext) -> bytes:
    return f"{os.environ.get('TEST_ENCRYPTION_KEY', 'key')} {ctx.metadata.get('tenant')}".encode()


def _seal(data: bytes, ctx: EncryptionContext) -> bytes:
    nonce = os.urandom(16)
    return nonce + hashlib.sha256(_key(ctx) + data).digest() + _mixed(data, _key(ctx) + nonce)


def _open(data: bytes, ctx: EncryptionContext) -> bytes:
    opened = _mixed(data[48:], _key(ctx) + data[:16])
    if hashlib.sha256(_key(ctx) + opened).digest() != data[16:48]:
        raise ValueError("wrong key")
    return opened


def _mixed(data: bytes, key: bytes) -> bytes:
    stream = hashlib.shake_256(key).digest(len(data))
    return bytes(a ^ b for a, b in zip(data, stream, strict=True))
