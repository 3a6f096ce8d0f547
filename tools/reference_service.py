"""The reference design to measure against: FastAPI, uvicorn, transformers.

    python tools/reference_service.py models/demo --port 8092 --threads 2
    load-test --url http://127.0.0.1:8091 --compare http://127.0.0.1:8092

It answers the seven endpoints as such services usually do: synchronous handlers in
FastAPI's thread pool, each of which runs the model on the inputs of its own request,
under torch.inference_mode, with nothing batched across requests and nothing cached.
This is the design being compared, so nothing here is tuned beyond --threads. It
checks inputs only as far as a benchmark needs and is not meant for production.
"""

import argparse
import base64
import binascii
import io
import json
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI, File, Form, HTTPException, UploadFile
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel
from transformers import PreTrainedTokenizerFast, SiglipImageProcessor, SiglipModel

TEXT_LENGTH = 64


class Embedder:
    """A checkpoint directory: its model, tokenizer and image processor."""

    def __init__(self, checkpoint: Path):
        self.name = checkpoint.resolve().name
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = SiglipModel.from_pretrained(checkpoint).to(self.device).eval()
        self.processor = SiglipImageProcessor.from_pretrained(checkpoint)
        words = json.loads((checkpoint / "tokenizer_config.json").read_text())
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(checkpoint / "tokenizer.json"),
            padding_side="right",
            **{f"{token}_token": words[f"{token}_token"] for token in ("pad", "eos", "unk")},
        )
        # Siglip2Tokenizer lower-cases; the file itself does not do so.
        self.lower_case = words.get("tokenizer_class") == "Siglip2Tokenizer"

    @property
    def dimensions(self) -> int:
        return self.model.config.text_config.projection_size

    @property
    def image_size(self) -> int:
        return self.model.config.vision_config.image_size

    def texts(self, texts: list[str], normalize: bool = True) -> torch.Tensor:
        """One row per text."""
        if not texts:
            return torch.empty(0, self.dimensions)
        if self.lower_case:
            texts = [text.lower() for text in texts]
        tokens = self.tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=TEXT_LENGTH,
            return_tensors="pt",
        )
        with torch.inference_mode():
            output = self.model.text_model(input_ids=tokens["input_ids"].to(self.device))
            return finish(output.pooler_output, normalize)

    def images(self, images: list[Image.Image], normalize: bool = True) -> torch.Tensor:
        """One row per image."""
        pixels = self.processor(images=images, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            output = self.model.vision_model(pixel_values=pixels.to(self.device))
            return finish(output.pooler_output, normalize)

    def probabilities(self, texts: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """The probability of each pair, a row per text."""
        with torch.inference_mode():
            scale = self.model.logit_scale.exp().cpu()
            return torch.sigmoid(texts @ images.T * scale + self.model.logit_bias.cpu())


def finish(rows: torch.Tensor, normalize: bool) -> torch.Tensor:
    if normalize:
        rows = torch.nn.functional.normalize(rows, dim=-1)
    return rows.float().cpu()


def opened(data: bytes, name: str | None) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError):
        raise HTTPException(400, f"{name or 'the image'} cannot be read as an image") from None


def uploads(files: list[UploadFile]) -> list[Image.Image]:
    return [opened(file.file.read(), file.filename) for file in files]


class Texts(BaseModel):
    """The body of /embed/text."""

    texts: list[str]
    normalize: bool = True


def application(embedder: Embedder) -> FastAPI:
    """The seven endpoints."""
    app = FastAPI()

    def answer(rows: torch.Tensor) -> dict:
        return {
            "embeddings": rows.tolist(),
            "dimensions": embedder.dimensions,
            "model": embedder.name,
        }

    @app.get("/health")
    def health():
        return {
            "status": "ok",
            "model": embedder.name,
            "device": embedder.device,
            "dimensions": embedder.dimensions,
        }

    @app.get("/info")
    def info():
        return {
            "model": embedder.name,
            "device": embedder.device,
            "text_dim": embedder.dimensions,
            "vision_dim": embedder.dimensions,
            "image_size": embedder.image_size,
            "cross_modal": True,
            "description": "The reference design, to measure against",
        }

    @app.post("/embed/text")
    def embed_text(body: Texts):
        return answer(embedder.texts(body.texts, body.normalize))

    @app.post("/embed/image")
    def embed_image(
        file: UploadFile | None = File(None),
        image_base64: str | None = Form(None),
        normalize: bool = Form(True),
    ):
        if file is not None and file.filename:
            image = opened(file.file.read(), file.filename)
        elif image_base64:
            try:
                data = base64.b64decode(image_base64.rpartition(",")[2], validate=True)
            except binascii.Error:
                raise HTTPException(400, "image_base64 is not base64") from None
            image = opened(data, "image_base64")
        else:
            raise HTTPException(400, "No image provided")
        return answer(embedder.images([image], normalize))

    @app.post("/embed/images")
    def embed_images(files: list[UploadFile] = File(...), normalize: bool = Form(True)):
        return answer(embedder.images(uploads(files), normalize))

    @app.post("/similarity")
    def similarity(files: list[UploadFile] = File(...), texts: str = Form(...)):
        try:
            asked = json.loads(texts)
        except json.JSONDecodeError:
            asked = None
        if not isinstance(asked, list) or not all(isinstance(text, str) for text in asked):
            raise HTTPException(422, "texts must be a JSON array of strings")
        image_rows = embedder.images(uploads(files))
        text_rows = embedder.texts(asked)
        return {
            "similarities": embedder.probabilities(text_rows, image_rows).tolist(),
            "text_embeddings": text_rows.tolist(),
            "image_embeddings": image_rows.tolist(),
            "note": "Similarities are sigmoid-normalized (0-1 range)",
        }

    @app.post("/rank")
    def rank(files: list[UploadFile] = File(...), query: str = Form(...)):
        image_rows = embedder.images(uploads(files))
        scores = embedder.probabilities(embedder.texts([query]), image_rows)[0].tolist()
        # Python's sort is stable: ties keep the order of the parts.
        order = sorted(range(len(files)), key=lambda n: -scores[n])
        return {
            "query": query,
            "rankings": [
                {"filename": files[n].filename, "score": round(scores[n], 4), "rank": rank}
                for rank, n in enumerate(order, 1)
            ],
        }

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="directory of the checkpoint")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8092)
    parser.add_argument("--threads", type=int, help="threads of one torch operation")
    arguments = parser.parse_args()
    if not (arguments.checkpoint / "config.json").is_file():
        parser.error(f"{arguments.checkpoint} is not a checkpoint directory: it has no config.json")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    app = application(Embedder(arguments.checkpoint))
    uvicorn.run(app, host=arguments.host, port=arguments.port, access_log=False)


if __name__ == "__main__":
    main()
