"""Runs the official clients of other embedding services, unmodified, against a running service.

Usage: python check.py http://127.0.0.1:PORT KEY [CHECK...]

With an empty KEY the service has none, and the clients that send no key are checked. Every vector that a client gets is compared with that of /embed/text or /embed/image. Started by
tools/check-clients, which makes the environment and the service. Prints a line for each client
and ends with 1 if one failed.
"""

import base64
import gzip
import http.client
import io
import json
import pathlib
import sys
import traceback
import urllib.error
import urllib.request

import httpx
import numpy as np

URL, KEY = sys.argv[1], sys.argv[2]
SAMPLES = pathlib.Path(__file__).parents[2] / "models/demo/samples"
PICTURE = (SAMPLES / "red-circle.png").read_bytes()
OTHER = (SAMPLES / "three-blue-stars.png").read_bytes()
TEXTS = ["a red circle", "three blue stars"]


def uri(picture):
    return "data:image/png;base64," + base64.b64encode(picture).decode()


# Of a service without a key nothing is sent.
AUTHORIZATION = {"Authorization": f"Bearer {KEY}"} if KEY else {}


def post(path, body, kind="application/json"):
    """The status and the body of the answer to a request, as a program without a client sends it."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": kind, **AUTHORIZATION}
    request = urllib.request.Request(URL + path, data, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def form(fields, files):
    """A multipart form, as bytes, and its content type."""
    parts = [
        f'--X\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ] + [
        f'--X\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n'.encode()
        + b"Content-Type: application/octet-stream\r\n\r\n" + data + b"\r\n"
        for name, data in files
    ]
    return b"".join(parts) + b"--X--\r\n", "multipart/form-data; boundary=X"


def own_texts(texts):
    return np.array(post("/embed/text", {"texts": texts})[1]["embeddings"], np.float32)


def own_image(picture):
    body, kind = form([], [("file", picture)])
    return np.array(post("/embed/image", body, kind)[1]["embeddings"][0], np.float32)


def same(got, expected):
    """Bit for bit, since both are f32 of the same service."""
    np.testing.assert_array_equal(np.asarray(got, np.float32), np.asarray(expected, np.float32))


def refused(error, work):
    """The sentence with which a client was refused."""
    try:
        work()
    except error as refusal:
        return str(refusal)
    raise AssertionError(f"no {error.__name__}")


def openai_python():
    import openai

    client = openai.OpenAI(base_url=URL + "/v1", api_key=KEY, max_retries=0)
    # It asks for base64 where its caller says nothing, and gives floats.
    answer = client.embeddings.create(model="text-embedding-3-small", input=TEXTS)
    same([entry.embedding for entry in answer.data], own_texts(TEXTS))
    assert answer.usage.prompt_tokens > 4 and answer.data[1].index == 1
    answer = client.embeddings.create(model="x", input=TEXTS[0], encoding_format="float")
    same(answer.data[0].embedding, own_texts(TEXTS)[0])
    answer = client.embeddings.create(model="x", input=[TEXTS[0], uri(PICTURE)])
    same(answer.data[1].embedding, own_image(PICTURE))
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": uri(OTHER)}}]}]
    answer = client.post(
        "/embeddings",
        cast_to=openai.types.CreateEmbeddingResponse,
        body={"messages": messages, "model": "x", "encoding_format": "float"},
    )
    same(answer.data[0].embedding, own_image(OTHER))
    # Objects, which are in no type of this client, as Jina's and LlamaIndex's users send them.
    bare = base64.b64encode(OTHER).decode()
    objects = [{"text": TEXTS[0]}, {"image": bare}, {"url": uri(PICTURE)}, {"bytes": bare}]
    answer = client.post(
        "/embeddings",
        cast_to=openai.types.CreateEmbeddingResponse,
        body={"input": objects, "model": "x", "encoding_format": "float"},
    )
    pictures = [own_image(OTHER), own_image(PICTURE), own_image(OTHER)]
    same([entry.embedding for entry in answer.data], [own_texts(TEXTS)[0], *pictures])
    # OpenAI refuses it too; of an answer without vectors its client says nothing that helps.
    assert "empty list" in refused(
        openai.BadRequestError, lambda: client.embeddings.create(model="x", input=[])
    )
    models = client.models.list().data
    assert client.models.retrieve(models[0].id).id == models[0].id
    assert "Matryoshka" in refused(
        openai.BadRequestError,
        lambda: client.embeddings.create(model="x", input="a", dimensions=2),
    )
    refused(openai.NotFoundError, lambda: client.models.retrieve("gpt-5"))
    refused(openai.NotFoundError, lambda: client.post("/nothing", cast_to=object))
    stranger = openai.OpenAI(base_url=URL + "/v1", api_key="wrong", max_retries=0)
    assert "API key" in refused(openai.AuthenticationError, stranger.models.list)


def azure_openai_python():
    import openai

    # By the name of a deployment, or of a model; the key goes in a header of Azure's own.
    for more in [{"azure_deployment": "embeddings"}, {}]:
        client = openai.AzureOpenAI(
            azure_endpoint=URL, api_key=KEY, api_version="2024-02-01", max_retries=0, **more
        )
        answer = client.embeddings.create(model="text-embedding-3-small", input=TEXTS)
        same([entry.embedding for entry in answer.data], own_texts(TEXTS))
    stranger = openai.AzureOpenAI(azure_endpoint=URL, api_key="wrong", api_version="x", max_retries=0)
    sentence = refused(
        openai.AuthenticationError, lambda: stranger.embeddings.create(model="x", input="a")
    )
    assert "API key" in sentence, sentence


def openai_python_async():
    import asyncio

    import openai

    async def work():
        async with openai.AsyncOpenAI(base_url=URL + "/v1", api_key=KEY) as client:
            answers = [client.embeddings.create(model="x", input=text) for text in TEXTS]
            return [answer.data[0].embedding for answer in await asyncio.gather(*answers)]

    same(asyncio.run(work()), own_texts(TEXTS))


def langchain_openai():
    import openai
    from langchain_openai import OpenAIEmbeddings

    def embeddings(**more):
        return OpenAIEmbeddings(base_url=URL + "/v1", api_key=KEY, model="x", **more)

    client = embeddings(check_embedding_ctx_length=False)
    same(client.embed_documents(TEXTS), own_texts(TEXTS))
    same(client.embed_query(TEXTS[0]), own_texts(TEXTS)[0])


def token_ids_as_langchain_sends_them():
    import openai

    client = openai.OpenAI(base_url=URL + "/v1", api_key=KEY, max_retries=0)
    sentence = refused(
        openai.BadRequestError,
        lambda: client.embeddings.create(model="x", input=[[64, 2579, 12960]]),
    )
    assert "check_embedding_ctx_length=False" in sentence, sentence


def llama_index_openai():
    from llama_index.embeddings.openai import OpenAIEmbedding

    client = OpenAIEmbedding(api_base=URL + "/v1", api_key=KEY, model_name="x")
    same(client.get_text_embedding_batch(TEXTS), own_texts(TEXTS))
    same(client.get_query_embedding(TEXTS[0]), own_texts(TEXTS)[0])


def infinity_client():
    from infinity_client import AuthenticatedClient
    from infinity_client.api.default import embeddings
    from infinity_client.models import (
        OpenAIEmbeddingInputImage,
        OpenAIEmbeddingInputImageModality,
        OpenAIEmbeddingInputText,
    )

    # Made as here, a body has `dimensions: 0`.
    image = OpenAIEmbeddingInputImageModality.IMAGE

    with AuthenticatedClient(base_url=URL + "/v1", token=KEY) as client:
        body = OpenAIEmbeddingInputText(input_=TEXTS)
        answer = embeddings.sync(client=client, body=body)
        same([entry.embedding for entry in answer.data], own_texts(TEXTS))
        body = OpenAIEmbeddingInputImage(input_=[uri(PICTURE), uri(OTHER)], modality=image)
        answer = embeddings.sync(client=client, body=body)
        same([entry.embedding for entry in answer.data], [own_image(PICTURE), own_image(OTHER)])


def cohere_python():
    import cohere
    import cohere.core

    client = cohere.ClientV2(api_key=KEY, base_url=URL)
    types = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    answer = client.embed(
        model="embed-v4.0", input_type="search_document", texts=TEXTS, embedding_types=types
    )
    own = own_texts(TEXTS)
    same(answer.embeddings.float_, own)
    decoded = [np.frombuffer(base64.b64decode(row), "<f4") for row in answer.embeddings.base64]
    same(decoded, own)
    int8, uint8 = np.array(answer.embeddings.int8), np.array(answer.embeddings.uint8)
    scale = 127 / np.abs(own.astype(np.float64)).max(axis=1, keepdims=True)
    assert np.abs(int8 - own * scale).max() <= 0.5001 and (uint8 - int8 == 128).all()
    bits = np.packbits(own > 0, axis=1)
    assert (np.array(answer.embeddings.ubinary) == bits).all()
    assert (np.array(answer.embeddings.binary) == bits.astype(int) - 128).all()
    assert answer.texts == TEXTS and answer.meta.billed_units.input_tokens > 4
    answer = client.embed(
        model="x", input_type="image", images=[uri(PICTURE)], embedding_types=["float"]
    )
    same(answer.embeddings.float_[0], own_image(PICTURE))
    inputs = [
        {"content": [{"type": "text", "text": TEXTS[0]}]},
        {"content": [{"type": "image_url", "image_url": {"url": uri(OTHER)}}]},
    ]
    answer = client.embed(model="x", input_type="search_query", inputs=inputs)
    same(answer.embeddings.float_, [own[0], own_image(OTHER)])
    sentence = refused(
        cohere.core.ApiError,
        lambda: client.embed(model="x", input_type="search_query", texts=["a"], output_dimension=8),
    )
    assert "Matryoshka" in sentence, sentence


def hugging_face_hub():
    from huggingface_hub import InferenceClient
    from huggingface_hub.errors import HfHubHTTPError

    for address in [URL, URL + "/embed"]:
        client = InferenceClient(model=address, token=KEY)
        same(client.feature_extraction(TEXTS[0]), own_texts(TEXTS)[:1])
        same(client.feature_extraction(TEXTS), own_texts(TEXTS))
    raw = client.feature_extraction(TEXTS[0], normalize=False, truncate=True)
    assert abs(np.linalg.norm(raw) - 1) > 1e-3
    sentence = refused(
        HfHubHTTPError, lambda: client.feature_extraction("a", prompt_name="query")
    )
    assert "prompt_name" in sentence, sentence
    info = InferenceClient(
        model=URL, token=KEY, provider="hf-inference"
    ).get_endpoint_info()
    assert info["model_type"]["embedding"] and info["max_input_length"] == 64, info
    source, *others = own_texts(TEXTS)
    labels = ["red circle", "blue star"]
    # The bare address takes every task.
    for sentences, picture in [("/similarity", "/classify"), ("", "")]:
        client = InferenceClient(model=URL + sentences, token=KEY)
        cosines = client.sentence_similarity(TEXTS[0], TEXTS[1:])
        np.testing.assert_allclose(cosines, np.array(others) @ source, atol=1e-6)
        client = InferenceClient(model=URL + picture, token=KEY)
        answer = client.zero_shot_image_classification(PICTURE, labels)
        assert [element.label for element in answer] == labels, answer
        assert answer[0].score > answer[1].score


def langchain_huggingface():
    from huggingface_hub import InferenceClient
    from langchain_huggingface import HuggingFaceEndpointEmbeddings

    # It takes names of models alone; its client is what speaks to a server.
    embeddings = HuggingFaceEndpointEmbeddings(model="x/y", huggingfacehub_api_token=KEY)
    embeddings.client, embeddings.model = InferenceClient(model=URL, token=KEY), URL
    same(embeddings.embed_documents(TEXTS), own_texts(TEXTS))


def llama_index_tei():
    from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

    client = TextEmbeddingsInference(model_name="x", base_url=URL, auth_token=f"{KEY}")
    same(client.get_text_embedding_batch(TEXTS), own_texts(TEXTS))


def triton_client():
    import tritonclient.http as triton

    client = triton.InferenceServerClient(URL.removeprefix("http://"))
    # Anew for each request: the client puts the length of its JSON into what it is given.
    def key():
        return {"Authorization": f"Bearer {KEY}"}

    assert client.is_server_live(headers=key()) and client.is_server_ready(headers=key())
    assert client.is_model_ready("siglip2", headers=key())
    meta = client.get_model_metadata("siglip2", headers=key())
    assert {tensor["name"] for tensor in meta["inputs"]} == {"texts", "images"}, meta
    assert client.get_server_metadata(headers=key())["name"]
    for is_binary in [True, False]:
        texts = triton.InferInput("texts", [2], "BYTES")
        texts.set_data_from_numpy(np.array(TEXTS, object), binary_data=is_binary)
        pictures = [PICTURE, OTHER] if is_binary else [uri(PICTURE), uri(OTHER)]
        images = triton.InferInput("images", [2, 1], "BYTES")
        images.set_data_from_numpy(np.array(pictures, object).reshape(2, 1), binary_data=is_binary)
        wanted = [
            triton.InferRequestedOutput(name, binary_data=is_binary)
            for name in ["text_embeddings", "image_embeddings"]
        ]
        answer = client.infer("siglip2", [texts, images], outputs=wanted, headers=key())
        same(answer.as_numpy("text_embeddings"), own_texts(TEXTS))
        same(answer.as_numpy("image_embeddings"), [own_image(PICTURE), own_image(OTHER)])
    answer = client.infer("siglip2", [texts], request_id="7", headers=key())
    assert answer.get_response()["id"] == "7"
    error = triton.InferenceServerException
    assert "nothing" in refused(error, lambda: client.infer("nothing", [texts], headers=key()))


def weaviate_as_its_module_sends():
    """There is no server of Weaviate on PyPI: what modules/multi2vec-clip/clients/ sends. That is Go's
    plain client, with the body alone: neither a key nor a type of the content."""
    address = URL.removeprefix("http://")

    def send(method, path, body=None):
        connection = http.client.HTTPConnection(address)
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader("User-Agent", "Go-http-client/1.1")
        if body is not None:
            body = json.dumps(body).encode()
            connection.putheader("Content-Length", str(len(body)))
        connection.putheader("Accept-Encoding", "gzip")
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        if answer.headers["Content-Encoding"] == "gzip":  # which Go takes off
            content = gzip.decompress(content)
        return answer.status, json.loads(content) if content else None

    for path in ["/.well-known/live", "/.well-known/ready"]:
        assert send("GET", path) == (204, None)
    status, answer = send("GET", "/meta")
    assert status == 200 and isinstance(answer, dict)
    images = [base64.b64encode(picture).decode() for picture in [PICTURE, OTHER]]
    status, answer = send("POST", "/vectorize", {"texts": TEXTS, "images": images})
    assert status == 200, answer
    same(answer["textVectors"], own_texts(TEXTS))
    same(answer["imageVectors"], [own_image(PICTURE), own_image(OTHER)])
    status, answer = send("POST", "/vectorize", {"images": None, "texts": [TEXTS[0]]})
    assert status == 200 and answer["imageVectors"] == []
    status, answer = send("POST", "/vectorize", {"images": ["AAAA"]})
    assert status == 400 and "images[0]" in answer["error"]


def immich_as_its_server_sends():
    """There is no server of immich on PyPI: what server/src/repositories/ sends, which has no key."""
    with urllib.request.urlopen(URL + "/ping") as answer:
        assert answer.read() == b"pong"
    visual = {"clip": {"visual": {"modelName": "ViT-B-16-SigLIP2__webli"}}}
    body, kind = form([("entries", json.dumps(visual))], [("image", PICTURE)])
    status, answer = post("/predict", body, kind)
    assert status == 200 and answer["imageHeight"] > 0 and answer["imageWidth"] > 0
    same(json.loads(answer["clip"]), own_image(PICTURE))
    textual = {"clip": {"textual": {"modelName": "x", "options": {"language": "en"}}}}
    body, kind = form([("entries", json.dumps(textual)), ("text", TEXTS[0])], [])
    status, answer = post("/predict", body, kind)
    assert status == 200
    same(json.loads(answer["clip"]), own_texts(TEXTS)[0])


def rows_in_every_form():
    import pyarrow as pa

    body, kind = form([("partial", "true")], [("files", PICTURE), ("files", b"no picture"), ("files", OTHER)])
    expected = np.array([own_image(PICTURE), own_image(OTHER)])

    def ask(media_type, dtype):
        headers = {"Content-Type": kind, "Authorization": f"Bearer {KEY}", "Accept": f"{media_type};dtype={dtype}"}
        return urllib.request.urlopen(urllib.request.Request(URL + "/embed/images", body, headers))

    scale = 127 / np.abs(expected).max(axis=1, keepdims=True)
    forms = {
        "float32": expected,
        "float16": expected.astype(np.float16),
        "int8": np.rint(expected.astype(np.float64) * scale).astype(np.int8),
        "binary": np.packbits(expected > 0, axis=1),
    }
    for dtype, rows in forms.items():
        with ask("application/vnd.apache.arrow.stream", dtype) as answer:
            assert answer.headers["Content-Type"] == "application/vnd.apache.arrow.stream"
            table = pa.ipc.open_stream(answer).read_all()
        column = table["embedding"].combine_chunks()
        assert column.null_count == 1 and not column[1].is_valid, column
        assert pa.types.is_fixed_size_list(column.type)
        np.testing.assert_array_equal(np.array(column.drop_null().to_pylist(), rows.dtype), rows)
        assert table.schema.metadata[b"dtype"] == dtype.encode()
        if dtype == "int8":
            scales = np.array(table["scale"].drop_null().to_pylist(), np.float32)
            np.testing.assert_allclose(rows * scales[:, None], expected, atol=scales.max() / 2 + 1e-6)
        with ask("application/x-npy", dtype) as answer:
            assert answer.headers["X-Embedding-Errors"] == "1" == answer.headers["X-Embedding-Error-Count"]
            array = np.load(io.BytesIO(answer.read()))
        assert array.dtype == rows.dtype, array.dtype
        np.testing.assert_array_equal(array[[0, 2]], rows)


def httpx_over_http2_without_tls():
    with httpx.Client(http1=False, http2=True, headers={"X-API-Key": KEY}) as client:
        got = client.post(URL + "/embed/text", json={"texts": TEXTS})
        assert got.http_version == "HTTP/2", got.http_version
        same(np.array(got.json()["embeddings"], np.float32), own_texts(TEXTS))
        got = client.post(URL + "/embed/image", files={"file": ("a.png", PICTURE)})
        same(np.array(got.json()["embeddings"][0], np.float32), own_image(PICTURE))
        # A body of megabytes, and an answer of as much.
        files = [("files", (f"{at}.png", PICTURE + bytes(100_000))) for at in range(40)]
        got = client.post(URL + "/embed/images", files=files)
        assert len(got.json()["embeddings"]) == 40, got.text
        assert client.get(URL + "/nowhere").status_code == 404
        texts = [f"a text with the number {number}" for number in range(1000)]
        got = client.post(URL + "/embed/text", json={"texts": texts})
        assert len(got.json()["embeddings"]) == 1000
        assert client.head(URL + "/health").status_code == 200


def compressed_bodies():
    import zstandard

    text = json.dumps({"texts": TEXTS}).encode()
    for coding, body in [("gzip", gzip.compress(text)), ("zstd", zstandard.compress(text))]:
        headers = {"Content-Type": "application/json", "X-API-Key": KEY, "Content-Encoding": coding}
        with urllib.request.urlopen(urllib.request.Request(URL + "/embed/text", body, headers)) as answer:
            same(json.load(answer)["embeddings"], own_texts(TEXTS))
    for coding, decompress in [("gzip", gzip.decompress), ("zstd", zstandard.decompress)]:
        headers = {"X-API-Key": KEY, "Accept-Encoding": coding}
        with urllib.request.urlopen(urllib.request.Request(URL + "/openapi.json", None, headers)) as answer:
            assert answer.headers["Content-Encoding"] == coding
            assert "paths" in json.loads(decompress(answer.read()))


def images_in_json():
    pictures = [base64.b64encode(PICTURE).decode(), uri(OTHER)]
    status, answer = post("/embed/images", {"image_base64": pictures})
    assert status == 200, answer
    same(answer["embeddings"], [own_image(PICTURE), own_image(OTHER)])
    status, answer = post("/embed/image", {"image_base64": pictures[0]})
    same(answer["embeddings"][0], own_image(PICTURE))


CHECKS = [
    rows_in_every_form,
    compressed_bodies,
    images_in_json,
    openai_python,
    azure_openai_python,
    openai_python_async,
    langchain_openai,
    token_ids_as_langchain_sends_them,
    llama_index_openai,
    infinity_client,
    cohere_python,
    hugging_face_hub,
    langchain_huggingface,
    llama_index_tei,
    triton_client,
    httpx_over_http2_without_tls,
]

# Their clients send no key, so a service that asks for one refuses them.
WITHOUT_KEY = [weaviate_as_its_module_sends, immich_as_its_server_sends]


def main():
    only = sys.argv[3:]
    failed = []
    checks = CHECKS if KEY else WITHOUT_KEY
    names = {check.__name__ for check in CHECKS + WITHOUT_KEY}
    assert names.issuperset(only), f"there are {', '.join(sorted(names))}"
    for check in checks:
        if only and check.__name__ not in only:
            continue
        try:
            check()
            print(f"ok      {check.__name__}")
        except Exception:
            failed.append(check.__name__)
            print(f"FAILED  {check.__name__}")
            traceback.print_exc()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
