"""`python -m freehold.operate.bucket URL NAME ACCESS_KEY KEY_FILE`: makes a bucket in a store that speaks S3, unless it is there.

One signed request, so that the stack needs no library of a cloud for it.
"""

from __future__ import annotations

import hashlib
import hmac
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from freehold.core.errors import FreeholdError, Unhealthy

_REGION = "us-east-1"
_SCOPE = f"{_REGION}/s3/aws4_request"
_NOTHING = hashlib.sha256(b"").hexdigest()
#: The store answers that it is well a moment before it takes what is written.
_TRIES, _PAUSE_SECONDS = 30, 1.0
_SECONDS = 10.0


def signed(method: str, url: str, access_key: str, key: str, moment: str) -> Mapping[str, str]:
    """Headers of a request without a body, signed as AWS wants it (version 4).

    Args:
        moment: UTC, e.g. `20261121T235900Z`.
    """
    parts = urlsplit(url)
    day = moment[:8]
    headers = {"host": parts.netloc, "x-amz-content-sha256": _NOTHING, "x-amz-date": moment}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = "\n".join([method, parts.path or "/", "", lines, names, _NOTHING])
    text = "\n".join(["AWS4-HMAC-SHA256", moment, f"{day}/{_SCOPE}", hashlib.sha256(request.encode()).hexdigest()])
    secret = f"AWS4{key}".encode()
    for word in (day, *_SCOPE.split("/")):
        secret = hmac.digest(secret, word.encode(), "sha256")
    signature = hmac.new(secret, text.encode(), "sha256").hexdigest()
    credential = f"Credential={access_key}/{day}/{_SCOPE}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": f"AWS4-HMAC-SHA256 {credential}"}


def ensure(url: str, bucket: str, access_key: str, key: str) -> bool:
    """Make the bucket; whether it was not there before.

    Raises:
        Unhealthy: the store refuses, or does not answer.
    """
    place = f"{url.rstrip('/')}/{bucket}"
    if _ask("HEAD", place, access_key, key) == 200:
        return False
    status = _ask("PUT", place, access_key, key)
    if status not in (200, 409):  # 409: somebody else just made it
        raise Unhealthy(f"{place} cannot be made: HTTP {status}", hint="`freehold logs seaweedfs` says why")
    return status == 200


def _ask(method: str, url: str, access_key: str, key: str) -> int:
    """The status of the answer; waits for a store that does not take requests yet."""
    problem = ""
    for _ in range(_TRIES):
        headers = dict(signed(method, url, access_key, key, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())))
        request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 - the stack's own store
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy is for the outside world
            with opener.open(request, timeout=_SECONDS) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return error.code
            problem = f"HTTP {error.code}"
        except OSError as error:
            problem = str(error)
        time.sleep(_PAUSE_SECONDS)
    raise Unhealthy(f"{url} does not answer: {problem}", hint="`freehold logs seaweedfs` says why")


def main(url: str, bucket: str, access_key: str, key_file: str) -> int:
    """Exit code: 0 where the bucket is there now."""
    try:
        is_new = ensure(url, bucket, access_key, Path(key_file).read_text(encoding="utf-8").strip())
    except FreeholdError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stderr.write(f"bucket {bucket}: {'made' if is_new else 'there already'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
