"""Asks a service over HTTPS, by HTTP/1.1 and HTTP/2, with clients that people use.

Usage: python https.py ADDRESS KEY CERTIFICATE

Started by tools/check-clients. Ends with an error if an answer is not as it should be.
"""

import asyncio
import json
import pathlib
import ssl
import sys
import urllib.error
import urllib.request

import httpx
import openai

ADDRESS, KEY, CERTIFICATE = sys.argv[1:]
URL = f"https://{ADDRESS}"
TRUST = ssl.create_default_context(cafile=CERTIFICATE)
SAMPLES = pathlib.Path(__file__).parents[2] / "models/demo/samples"


def with_urllib():
    body = json.dumps({"texts": ["a red circle"]}).encode()
    headers = {"Content-Type": "application/json", "X-API-Key": KEY}
    request = urllib.request.Request(URL + "/embed/text", body, headers)
    with urllib.request.urlopen(request, context=TRUST) as answer:
        return json.load(answer)["embeddings"]


async def many(expected):
    """Many requests on one connection of HTTP/2."""
    headers = {"X-API-Key": KEY}
    async with httpx.AsyncClient(http2=True, verify=TRUST, headers=headers) as client:
        asked = [client.post(URL + "/embed/text", json={"texts": ["a red circle"]}) for _ in range(60)]
        for answer in await asyncio.gather(*asked):
            assert answer.http_version == "HTTP/2", answer.http_version
            assert answer.json()["embeddings"] == expected


def main():
    expected = with_urllib()
    asyncio.run(many(expected))
    picture = (SAMPLES / "red-circle.png").read_bytes()
    for http2 in (False, True):
        client = httpx.Client(http2=http2, verify=TRUST)
        got = client.post(URL + "/embed/image", files={"file": picture}, headers={"X-API-Key": KEY})
        assert got.status_code == 200, got.text
        official = openai.OpenAI(base_url=URL + "/v1", api_key=KEY, http_client=client)
        got = official.embeddings.create(model="any", input="a red circle", encoding_format="float")
        assert len(got.data[0].embedding) == len(expected[0])
    try:
        httpx.get(URL + "/health")
        raise AssertionError("a certificate of nobody was trusted")
    except httpx.ConnectError:
        pass
    plain = httpx.get(f"http://{ADDRESS}/health")
    assert plain.status_code == 400 and "https" in plain.json()["detail"], plain.text
    print("ok    HTTPS with urllib, httpx (HTTP/1.1 and HTTP/2) and openai")


main()
